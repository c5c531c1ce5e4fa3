"""Generation: how well a small flow-matching model of fixed size generates a codec's latents.

    log-mel [B, T, 40] -> Linear -> z -> the product's decoder (`models.decoder`) -> velocity

It is trained on normalised latents of other speakers, for a fixed number of updates, and generates
the latents of held-out clips from their log-mel spectrograms. Reconstruction limits their
quality; how far below it the generated speech stays shows how hard the latents are to generate.
The log-mel has one frame for each latent frame.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uniwav_jax.config import Config, DecoderConfig, FeaturesConfig, FlowConfig, ModelConfig
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import speech_frames
from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.evaluation.speech_frames import Speech
from uniwav_jax.evaluation.systems import STEP, Clip, System
from uniwav_jax.features import LogMel
from uniwav_jax.measures import bootstrap
from uniwav_jax.measures.signal import Mean
from uniwav_jax.models import flow, uniwav
from uniwav_jax.terminal import progress
from uniwav_jax.types import PyTree

BANDS = 40
DECODER = DecoderConfig(layers=4, width=192, heads=4, ffn=512)
DRAWS = 4  # flow times and noises per held-out clip, for the flow loss


@dataclasses.dataclass(frozen=True)
class Probe:
    """The model and its training; two codecs can be compared if these are equal.

    Attributes:
        updates: of AdamW.
        rows: crops per update.
        crop: seconds of each crop.
        lr: the first learning rate, which falls to a hundredth along a cosine.
        decoder: dimensions; 2.5 M parameters with the default.
        steps: of the midpoint solver, each with two evaluations of the network.
    """

    updates: int = 600
    rows: int = 8
    crop: float = 1.0
    lr: float = 1e-3
    decoder: DecoderConfig = DECODER
    steps: int = 8

    @property
    def config(self) -> Config:
        """The configuration that the product's decoder and sampler read."""
        model = ModelConfig(decoder=self.decoder, compute_dtype="float32", remat="none")
        sampler = FlowConfig(sample_steps=self.steps, guidance=0.0, solver="midpoint")
        return Config(model=model, flow=sampler)


@dataclasses.dataclass
class Trained:
    """A trained probe.

    Attributes:
        params: {"condition": {"kernel" [40, E], "bias" [E], "null" [E]}, "decoder"}, float32.
        statistics: {"mean", "std"}, float32 [C], of the training speech.
        mel: mean and standard deviation of the log-mel bands, float32 [2, 40].
        losses: the loss of each update, float32 [updates].
    """

    params: PyTree
    statistics: PyTree
    mel: np.ndarray
    losses: np.ndarray


def log_mel(system: System) -> LogMel:
    """The log-mel spectrograms that a probe reads, at the system's frame rate."""
    rate = system.features.sample_rate
    hop, high = system.features.hop, min(8000.0, rate / 2)
    return LogMel(FeaturesConfig(sample_rate=rate, hop=hop, mel_bands=BANDS, mel_high=high))


def train(system: System, speech: Speech, *, probe: Probe = Probe(), seed: int = 0) -> Trained:
    """Train a probe.

    Args:
        system: whose latents are generated.
        speech: the training speech.
        probe: the model and its training.
        seed: of the weights, crops, flow times and noise.

    Raises:
        UserError: no clip is as long as a crop.
    """
    x_NxC, mel_NxM, starts = _training_frames(system, speech, probe)
    mel = np.stack([mel_NxM.mean(0), np.maximum(mel_NxM.std(0), 1e-3)])
    mel_NxM = (mel_NxM - mel[0]) / mel[1]
    frames = round(probe.crop * system.features.frame_rate)
    key, random = jax.random.key(seed), np.random.default_rng(seed)
    params = init(key, probe, x_NxC.shape[1])
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(probe.lr, probe.updates, 0.01),
        weight_decay=0.01,
        mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
    )
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(
        params: PyTree, state: PyTree, x_BxTxC: jax.Array, mel_BxTxM: jax.Array, key: jax.Array
    ) -> tuple[PyTree, PyTree, jax.Array]:
        t_key, noise_key = jax.random.split(key)
        t_B = jax.random.uniform(t_key, (len(x_BxTxC),))
        x0_BxTxC = jax.random.normal(noise_key, x_BxTxC.shape)
        mask_BxT = jnp.ones(x_BxTxC.shape[:2], bool)
        value, gradient = jax.value_and_grad(
            lambda p: (
                error_sum(p, x_BxTxC, mel_BxTxM, mask_BxT, t_B, x0_BxTxC, probe).sum()
                / mask_BxT.size
            )
        )(params)
        step, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, step), state, value

    losses = []
    for number in progress(range(probe.updates), label="flow model"):
        chosen = random.choice(starts, probe.rows)[:, None] + np.arange(frames)
        crops = x_NxC[chosen], mel_NxM[chosen]
        params, state, loss = update(params, state, *crops, jax.random.fold_in(key, number))
        losses.append(loss)
    return Trained(params, speech.params, mel, np.asarray(losses))


def init(key: jax.Array, probe: Probe, channels: int) -> PyTree:
    """Fresh parameters of a probe; `Trained.params` has the tree.

    Args:
        key: random key.
        probe: the model.
        channels: C of the latents.
    """
    width = probe.decoder.width
    x, z = jnp.zeros((1, 8, channels)), jnp.zeros((1, 8, width))
    first, second = jax.random.split(key)
    decoder = uniwav.decoder_module(probe.config, channels)
    return {
        "condition": {
            "kernel": jax.nn.initializers.glorot_uniform()(first, (BANDS, width)),
            "bias": jnp.zeros(width),
            "null": jnp.zeros(width),
        },
        "decoder": decoder.init(second, x, jnp.zeros(1), z, jnp.ones((1, 8), bool))["params"],
    }


def error_sum(
    params: PyTree,
    x_BxTxC: jax.Array,
    mel_BxTxM: jax.Array,
    mask_BxT: jax.Array,
    t_B: jax.Array,
    x0_BxTxC: jax.Array,
    probe: Probe,
) -> jax.Array:
    """Squared error of the velocity, summed over the real frames.

    Args:
        params: of the probe.
        x_BxTxC: normalised latents.
        mel_BxTxM: normalised log-mel.
        mask_BxT: bool, True on real frames.
        t_B: flow times.
        x0_BxTxC: noise.
        probe: the model.

    Returns:
        float32 [], mean over channels; divided by the number of frames it is the flow loss.
    """
    config = probe.config
    z_BxTxD = condition(params, mel_BxTxM)
    x_t = flow.path(x0_BxTxC, x_BxTxC, t_B, config.flow.sigma)
    u = flow.target(x0_BxTxC, x_BxTxC, config.flow.sigma)
    decoder = uniwav.decoder_module(config, x_BxTxC.shape[-1])
    v = decoder.apply({"params": params["decoder"]}, x_t, t_B, z_BxTxD, mask_BxT)
    return flow.squared_error_sum(v, u, mask_BxT)


def condition(params: PyTree, mel_BxTxM: jax.Array) -> jax.Array:
    """The conditioning z, float32 [B, T, E], of normalised log-mel."""
    c = params["condition"]
    return mel_BxTxM @ c["kernel"] + c["bias"]


def measure(
    system: System,
    clips: Sequence[Clip],
    judges: Judges,
    trained: Trained,
    *,
    probe: Probe = Probe(),
    seed: int = 0,
) -> tuple[dict[str, Mean], dict[str, dict[str, Any]]]:
    """Generate the latents of clips from their log-mel, decode and score them.

    Args:
        system: what decodes.
        clips: held-out speech.
        judges: who score.
        trained: the probe.
        probe: its model.
        seed: of the noise that generation starts at, and of the flow loss.

    Returns:
        {measure: mean} and {name of the clip: {measure: score}}. The measures are those of the
        judges and "flow_loss", the squared error of the velocity per frame and channel;
        "flow_loss_of_zero" is that of zero output, which is 2 if every normalised channel has unit
        variance.
    """
    mel, rate = log_mel(system), system.features.sample_rate
    raw = jax.jit(lambda audio: mel.raw({}, audio))

    @jax.jit
    def generate(
        params: PyTree, x_BxTxC: jax.Array, mel_BxTxM: jax.Array, mask_BxT: jax.Array, key: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        sample_key, t_key, noise_key = jax.random.split(key, 3)
        z_BxTxD, everywhere = condition(params, mel_BxTxM), jnp.ones_like(mask_BxT)
        x0 = jax.random.normal(sample_key, x_BxTxC.shape)
        made = flow.sample(params, z_BxTxD, x_BxTxC, everywhere, mask_BxT, x0, probe.config)
        t_D = (jnp.arange(DRAWS) + jax.random.uniform(t_key, (DRAWS,))) / DRAWS
        x0 = jax.random.normal(noise_key, (DRAWS, *x_BxTxC.shape[1:]))
        x, mels, mask = (
            jnp.repeat(array, DRAWS, axis=0) for array in (x_BxTxC, mel_BxTxM, mask_BxT)
        )
        error = error_sum(params, x, mels, mask, t_D, x0, probe) / DRAWS
        zero = flow.target(x0, x, probe.config.flow.sigma)
        return made, error, flow.squared_error_sum(0.0 * zero, zero, mask) / DRAWS

    scores: dict[str, dict[str, Any]] = {}
    sums = []
    for number, clip in enumerate(progress(clips, label="generation")):
        x_TxC = speech_frames.normalise(system.encode(clip.audio), trained.statistics)
        frames, padding = len(x_TxC), -len(x_TxC) % STEP
        total = (frames + padding) * system.features.hop
        audio = np.pad(clip.audio, (0, total - len(clip.audio)))
        mel_TxM = (np.asarray(raw(audio[None]))[0] - trained.mel[0]) / trained.mel[1]
        x_TxC = np.pad(x_TxC, ((0, padding), (0, 0)))
        mask_T = np.arange(frames + padding) < frames
        key = jax.random.fold_in(jax.random.key(seed), number)
        made, error, zero = jax.device_get(
            generate(trained.params, x_TxC[None], mel_TxM[None], mask_T[None], key)
        )
        decoded = system.decode(speech_frames.denormalise(made[0, :frames], trained.statistics))
        scores[clip.name] = judges.score(clip, decoded, sample_rate=rate)
        sums.append((float(error), float(zero), frames))
        scores[clip.name]["flow_loss"] = sums[-1][0] / frames
    means = judges.means(list(scores.values()))
    table = np.array(sums)
    for name, column in (("flow_loss", 0), ("flow_loss_of_zero", 1)):
        of = functools.partial(_per_frame, column)
        low, high = bootstrap.interval(table, of) if len(table) > 1 else (None, None)
        means[name] = Mean(of(table.sum(0)), low, high, len(table), len(table))
    return means, scores


def _per_frame(column: int, total: np.ndarray) -> float:
    return float(total[column] / total[2])


def _training_frames(
    system: System, speech: Speech, probe: Probe
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised latents [N, C], log-mel [N, 40], and the first frames of all possible crops."""
    read, raw = speech_frames.make_read(system, speech.params), jax.jit(log_mel(system).raw)
    frames = round(probe.crop * system.features.frame_rate)
    latents, mels, starts, count = [], [], [], 0
    for batch, audio_BxS in zip(speech.clips.batches, speech.audio, strict=True):
        x_1xBxTxC, mask_BxT = jax.device_get(read(batch))
        mel_BxTxM = np.asarray(raw({}, audio_BxS))
        for x_TxC, mel_TxM, mask_T in zip(x_1xBxTxC[0], mel_BxTxM, mask_BxT, strict=True):
            real = int(mask_T.sum())
            latents.append(x_TxC[:real])
            mels.append(mel_TxM[:real])
            starts.append(count + np.arange(max(0, real - frames + 1)))
            count += real
    starts_N = np.concatenate(starts)
    if not len(starts_N):
        raise UserError(f"no clip of the training speech is as long as a crop, {probe.crop:g} s")
    return np.concatenate(latents), np.concatenate(mels), starts_N
