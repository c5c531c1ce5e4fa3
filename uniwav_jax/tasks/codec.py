"""Training a codec: waveform -> latents -> waveform (EnCodec, arXiv 2210.13438, section 3.4).

One update trains the codec (the generator) and the discriminator. The balancer combines the codec's
losses into one gradient of the decoded waveform; its weights are shares of that gradient. The
discriminator is trained with the hinge loss on real and decoded speech. The features of this task
are the waveform itself.

The bottleneck between encoder and decoder is one of:

    "noise"  z + Gaussian noise with deviation config.codec.noise, and a penalty on |z|^2. This is a
             variational autoencoder of fixed variance; it makes small errors of latents inaudible.
    "relative_noise"  z + Gaussian noise whose deviation is random for each row, between 0 and
             config.codec.noise times the standard deviation of each channel in the batch; with
             config.codec.fine_noise the noise on fine channels, whose normalised deviation is below
             1, has a level of its own.
    "rvq"    a residual vector quantiser that randomly drops its last stages in training. Codebooks
             are running averages, and codewords that are not used move to frames of the batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from uniwav_jax.codec.config import Structure
from uniwav_jax.codec.network import Codec
from uniwav_jax.config import Config
from uniwav_jax.losses import codec_training as losses
from uniwav_jax.models import quantizer
from uniwav_jax.models.discriminator import Discriminator
from uniwav_jax.tasks.codec_alarms import ALARMS, adversarial
from uniwav_jax.tasks.task import Part, Task
from uniwav_jax.types import Example, Metrics, PyTree, Variables

# Losses that the balancer weights; those with a share of 0 are not computed.
SHARED = ("wave", "mel", "adversarial", "features", "spectrum")
COUNTED = ("targets", "candidates")  # these entries are sums over frames, not means over rows
# A channel whose deviation is a smaller share of the median channel's does not vary; ours.
DEAD_CHANNEL = 0.01
DEAD = 0.1  # a codeword with a smaller running count of frames per update is replaced; ours


@struct.dataclass
class Draws:
    """Random choices of a step for the whole global batch.

    Attributes:
        noise_BxTxC: float32, unit Gaussian; T and C are frames and dimension of the latents.
        level_B: float32, uniform in [0, 1]: the row's share of the largest relative noise.
        fine_level_B: the same for fine channels.
        stages_B: int32, number of quantiser stages that are used for the row.
        candidates_BxT: int32, the codeword that may move to this frame; a number beyond the last
            codeword means that none may.
        real_B: float32, 1 for rows with speech, 0 for empty and unreadable ones, which no loss and
            no codebook counts.
    """

    noise_BxTxC: jax.Array
    level_B: jax.Array
    fine_level_B: jax.Array
    stages_B: jax.Array
    candidates_BxT: jax.Array
    real_B: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters {"generator"} and the task's state.

    There is also "discriminator" if an adversarial loss has a share.

    The state is {"norms": {name of each loss with a share: []}} and, with bottleneck rvq,
    "codebooks": {"sums" [K, V, C], "counts" [K, V]}, all float32.
    """
    del channels
    generator_key, discriminator_key, books_key = jax.random.split(key, 3)
    audio_BxS = jnp.zeros((1, max(_discriminator(config).windows)))
    params = {"generator": _codec(config).init(generator_key, audio_BxS)["params"]}
    if adversarial(config):
        variables = _discriminator(config).init(discriminator_key, audio_BxS)
        params["discriminator"] = variables["params"]
    state: PyTree = {"norms": {name: jnp.zeros(()) for name in _shares(config)}}
    if config.codec.bottleneck == "rvq":
        books = quantizer.init(
            books_key,
            books=config.codec.trained.codebooks,
            codewords=config.codec.trained.codewords,
            width=config.codec.trained.dimension,
        )
        # Start with counts at the revival threshold, so that the first batch re-initialises the
        # codewords that it does not use.
        state["codebooks"] = jax.tree.map(lambda x: DEAD * x, books)
    return params, state


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random choices of an update.

    Half of the rows on average use all stages of the quantiser, the others a random number.
    """
    x_BxTxC, frames_B = example.x_BxTxC, example.frames_B
    noise_key, stages_key, all_key, candidates_key = jax.random.split(key, 4)
    structure, rows = config.codec.trained, len(x_BxTxC)
    frames = -(-x_BxTxC.shape[1] // structure.hop)
    most = max(structure.codebooks, 1)
    some_B = jax.random.randint(stages_key, (rows,), 1, most + 1)
    return Draws(
        noise_BxTxC=jax.random.normal(noise_key, (rows, frames, structure.dimension)),
        level_B=jax.random.uniform(jax.random.fold_in(key, 0), (rows,)),
        fine_level_B=jax.random.uniform(jax.random.fold_in(key, 1), (rows,)),
        stages_B=jnp.where(jax.random.bernoulli(all_key, 0.5, (rows,)), most, some_B),
        candidates_BxT=jax.random.permutation(candidates_key, rows * frames).reshape(rows, frames),
        real_B=(frames_B > 0).astype(jnp.float32),
    )


def weight(example: Example, draws: Draws) -> jax.Array:
    """Number of rows of the global batch that have speech, float32 [], at least 1."""
    del example
    return jnp.maximum(draws.real_B.sum(), 1.0)


def loss(
    variables: Variables,
    example: Example,
    draws: Draws,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of a surrogate loss with the balanced gradient, and sums.

    Args:
        variables: `params` {"generator", "discriminator"}, `state` {"norms", "codebooks"}.
        example: `x_BxTxC` is the waveform, float32 [B, S, 1] in [-1, 1]. Samples after a row's end
            are zero and are coded as silence.
        draws: this microbatch's rows of `draw`.
        weight: number of rows with speech in the global batch, [].
        key: None for evaluation, which adds no noise and uses all stages; otherwise unused.
        config: the configuration.

    Returns:
        The surrogate [] (only its gradient has a meaning) and sums, float32: "rows" [] (rows with
        speech); divided by `weight` and summed over rows with speech "loss_wave", "loss_mel",
        "loss_adversarial", "loss_features", "loss_spectrum" (those that have a share),
        "loss_discriminator", "penalty", "z_square" (mean square of the latents), each [], and
        with relative noise "deviation_C", the deviation of each channel in the batch, and
        "norms" {name of each loss with a share: []}, the norms of the losses' gradients. With
        bottleneck rvq also "targets" and "candidates", each {"sums" [K, V, C], "counts" [K, V]}:
        the frames assigned to each codeword, and the frames to which unused codewords may move.
    """
    params, state = variables.params, variables.state
    audio_BxS = example.x_BxTxC[..., 0]
    codec, discriminator = _codec(config), _discriminator(config)
    real_B = draws.real_B
    generator = {"params": params["generator"]}
    z_BxTxC = codec.apply(generator, audio_BxS, method="encode")
    used_BxTxC, penalty, sums = _bottleneck(state, z_BxTxC, draws, config, train=key is not None)
    decoded_BxS = codec.apply(generator, used_BxTxC, method="decode")[:, : audio_BxS.shape[1]]

    against = adversarial(config)
    if against:
        weights = {"params": params["discriminator"]}
        real_logits, real_features = discriminator.apply(weights, audio_BxS)

    def distances(fake_BxS: jax.Array) -> dict[str, jax.Array]:
        rate = config.features.sample_rate
        if against:
            fixed = {"params": jax.lax.stop_gradient(params["discriminator"])}
            fake_logits, fake_features = discriminator.apply(fixed, fake_BxS)
        compute = {
            "wave": lambda: losses.row_mean(jnp.abs(audio_BxS - fake_BxS), real_B),
            "mel": lambda: losses.multi_scale_mel(audio_BxS, fake_BxS, real_B, sample_rate=rate),
            "adversarial": lambda: losses.generator_hinge(fake_logits, real_B),
            "features": lambda: losses.feature_matching(real_features, fake_features, real_B),
            "spectrum": lambda: losses.spectral_distance(
                audio_BxS, fake_BxS, real_B, sample_rate=rate
            ),
        }
        return {name: compute[name]() for name in _shares(config)}

    fake_BxS = jax.lax.stop_gradient(decoded_BxS)
    values, pull = jax.vjp(distances, fake_BxS)
    zeros = jax.tree.map(jnp.zeros_like, values)
    gradients = {name: pull({**zeros, name: jnp.ones(())})[0] for name in values}
    norms = losses.gradient_norms(gradients, real_B)
    averages = {name: state["norms"][name] for name in norms}
    known = {name: jnp.where(a > 0, a, norms[name]) for name, a in averages.items()}
    balanced_BxS = losses.balance(gradients, _shares(config), known)
    surrogate = losses.row_mean((decoded_BxS * jax.lax.stop_gradient(balanced_BxS)).sum(-1), real_B)

    if against:
        fake_logits, _ = discriminator.apply(weights, fake_BxS)
        values["discriminator"] = losses.discriminator_hinge(real_logits, fake_logits, real_B)
    loss_discriminator = values.get("discriminator", 0.0)

    share = real_B.sum() / weight
    sums |= {
        **{f"loss_{name}": value for name, value in values.items()},
        "penalty": penalty,
        "z_square": losses.row_mean(jnp.square(z_BxTxC), real_B),
        "norms": norms,
    }
    sums = {
        name: value if name in COUNTED else jax.tree.map(lambda v: share * v, value)
        for name, value in sums.items()
    }
    sums["rows"] = real_B.sum()
    return share * (surrogate + penalty + loss_discriminator), jax.lax.stop_gradient(sums)


def _bottleneck(
    state: PyTree, z_BxTxC: jax.Array, draws: Draws, config: Config, *, train: bool
) -> tuple[jax.Array, jax.Array, PyTree]:
    """Input of the decoder [B, T, C], the penalty [], and sums for the codebooks (see `loss`)."""
    c = config.codec
    if c.bottleneck == "relative_noise":
        deviation_C = _deviation(z_BxTxC, draws.real_B)
        level_BxC = c.noise * draws.level_B[:, None]
        if c.fine_noise:
            fine_C = np.asarray(c.trained.scale) < 1
            level_BxC = jnp.where(fine_C, c.fine_noise * draws.fine_level_B[:, None], level_BxC)
        level_Bx1xC = level_BxC[:, None] * train
        noisy_BxTxC = z_BxTxC + level_Bx1xC * deviation_C * draws.noise_BxTxC
        return noisy_BxTxC, jnp.zeros(()), {"deviation_C": deviation_C}
    if c.bottleneck == "noise":
        penalty = c.penalty * losses.row_mean(jnp.square(z_BxTxC), draws.real_B)
        return (z_BxTxC + c.noise * draws.noise_BxTxC if train else z_BxTxC), penalty, {}
    quantised_BxTxC, distances, statistics = quantizer.residual(
        state["codebooks"],
        z_BxTxC,
        draws.real_B[:, None] > 0,
        draws.candidates_BxT,
        draws.stages_B if train else None,
    )
    penalty = sum((losses.row_mean(d, draws.real_B) for d in distances), jnp.zeros(()))
    straight = z_BxTxC + jax.lax.stop_gradient(quantised_BxTxC - z_BxTxC)
    return straight, c.penalty * penalty / c.trained.codebooks, statistics


def _deviation(z_BxTxC: jax.Array, real_B: jax.Array) -> jax.Array:
    """Standard deviation of each channel over the real rows, float32 [C].

    It is part of the gradient: if it were not, larger latents would have relatively less noise.
    """
    count = jnp.maximum(real_B.sum() * z_BxTxC.shape[1], 1.0)
    real_Bx1x1 = real_B[:, None, None]
    mean_C = (z_BxTxC * real_Bx1x1).sum((0, 1)) / count
    return jnp.sqrt((jnp.square(z_BxTxC - mean_C) * real_Bx1x1).sum((0, 1)) / count + 1e-6)


def update(variables: Variables, sums: PyTree, step: jax.Array, config: Config) -> PyTree:
    """The new state: running averages of the gradients' norms, and the codebooks."""
    state = variables.state
    decay = jnp.minimum(config.codec.balance_decay, (1.0 + step) / (10.0 + step))
    new: PyTree = {
        "norms": jax.tree.map(
            lambda average, norm: decay * average + (1.0 - decay) * norm,
            state["norms"],
            sums["norms"],
        )
    }
    if "codebooks" in state:
        new["codebooks"] = quantizer.update_and_revive(
            state["codebooks"],
            sums["targets"],
            sums["candidates"],
            decay=config.codec.codebook_decay,
            dead=DEAD,
        )
    return new


def mean(total: PyTree) -> PyTree:
    """Divide sums over evaluation batches (with weight 1) by the number of rows with speech."""
    rows = jnp.maximum(total["rows"], 1.0)
    return {
        name: value if name in (*COUNTED, "rows") else jax.tree.map(lambda v: v / rows, value)
        for name, value in total.items()
    }


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step.

    "loss" is the mean of the balanced losses' values, weighted by their shares. "latent_rms" is the
    root mean square of the latents. With relative noise there is "dead_channels", the share of
    channels that hardly vary; with bottleneck rvq there are "codebook_perplexity" and
    "active_codewords", both means over the codebooks.
    """
    del step
    shares = _shares(config)
    values = {name: value for name, value in sums.items() if name.startswith("loss_")}
    weighed = sum(share * sums[f"loss_{name}"] for name, share in shares.items())
    result = {"loss": weighed / sum(shares.values()), **values, "penalty": sums["penalty"]}
    result["latent_rms"] = jnp.sqrt(sums["z_square"])
    if "deviation_C" in sums:
        typical = jnp.median(sums["deviation_C"])
        result["dead_channels"] = (sums["deviation_C"] < DEAD_CHANNEL * typical).mean()
    if "targets" in sums:
        counts_KxV = sums["targets"]["counts"]
        result["codebook_perplexity"] = quantizer.perplexity(counts_KxV)
        result["active_codewords"] = (counts_KxV > 0).sum(-1).mean(dtype=jnp.float32)
    return result


def samples(
    variables: Variables, example: Example, key: jax.Array, config: Config
) -> dict[str, jax.Array]:
    """Waveforms, float32 [B, S, 1]: "real", and "decoded" with the averaged weights.

    A quantiser uses all its stages.
    """
    codec, generator = _codec(config), {"params": variables.ema["generator"]}
    z_BxTxC = codec.apply(generator, example.x_BxTxC[..., 0], method="encode")
    draws = draw(key, example, config)
    used_BxTxC, _, _ = _bottleneck(variables.state, z_BxTxC, draws, config, train=False)
    decoded_BxS = codec.apply(generator, used_BxTxC, method="decode")
    return {
        "real": example.x_BxTxC,
        "decoded": decoded_BxS[:, : example.x_BxTxC.shape[1], None],
    }


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """Lines about the rate and dimension of the latents and the losses' gradient shares."""
    del channels, frame_rate
    structure, shares = config.codec.trained, _shares(config)
    total = sum(shares.values())
    parts = ", ".join(f"{name} {share / total:.0%}" for name, share in shares.items())
    rate = structure.sample_rate / structure.hop
    return [f"latents: {rate:g} frames/s of {structure.dimension}", f"gradient shares: {parts}"]


def _shares(config: Config) -> dict[str, float]:
    """{name: share of the gradient} of the losses that have one."""
    shares = {name: getattr(config.codec, f"{name}_share") for name in SHARED}
    return {name: share for name, share in shares.items() if share > 0}


def _codec(config: Config) -> Codec:
    return Codec(config.codec.trained)


def _discriminator(config: Config) -> Discriminator:
    return Discriminator(config.codec.discriminator_windows, config.codec.discriminator_filters)


def trained(config: Config, ema: PyTree, state: PyTree) -> tuple[Structure, PyTree]:
    """Structure and weights {"network", "codebooks" [K, V, C]} of the averaged codec."""
    structure, params = config.codec.trained, {"network": ema["generator"]}
    if structure.codebooks:
        params["codebooks"] = quantizer.codewords(state["codebooks"])
    return structure, params


def averages(config: Config) -> dict[str, float]:
    """The generator, whose average is exported."""
    return {"generator": config.codec.ema_decay}


TASK = Task(
    name="codec",
    init=init,
    draw=draw,
    weight=weight,
    loss=loss,
    update=update,
    mean=mean,
    metrics=metrics,
    averages=averages,
    parts={
        "generator": Part(
            ("params/generator", "ema/generator", "state/norms", "state/codebooks"),
            ("codec.kind", "codec.structure", "codec.mdct", "codec.bottleneck"),
        ),
        "discriminator": Part(
            ("params/discriminator",),
            ("codec.discriminator_filters", "codec.discriminator_windows"),
        ),
    },
    samples=samples,
    compared=("real", "decoded"),
    describe=describe,
    alarms=ALARMS,
    headline=(
        ("loss", "loss {:.3f}"),
        ("loss_mel", "mel {:.3f}"),
        ("loss_discriminator", "discriminator {:.2f}"),
    ),
)
