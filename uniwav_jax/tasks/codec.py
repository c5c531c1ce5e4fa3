"""Training a codec: waveform -> latents -> waveform (EnCodec, arXiv 2210.13438, section 3.4).

One update trains both sides. The codec's losses are turned into one gradient of the decoded
waveform by the balancer, whose weights are shares of that gradient; the discriminator learns by
the hinge from real and decoded speech. The features of this task are the waveform itself.

The bottleneck decides what latents are made for:

    "noise"  z + Gaussian noise of config.codec.noise, and a penalty on |z|^2: a variational
             autoencoder of fixed variance, so that small errors of latents are not heard
    "rvq"    residual vector quantiser with dropped stages; codebooks follow by running averages,
             and codewords that win nothing move to frames of the batch
"""

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.codec.network import Codec
from uniwav_jax.config import Config
from uniwav_jax.losses import codec_training as losses
from uniwav_jax.models import quantizer
from uniwav_jax.models.discriminator import Discriminator
from uniwav_jax.types import AddUp, Metrics, PyTree

SAMPLING_PARTS = ("generator",)  # what the running average covers
SCORED = ("real", "decoded")  # samples of evaluation that are compared by PESQ and STOI
SHARED = ("wave", "mel", "adversarial", "features")  # losses that the balancer weighs
COUNTED = ("targets", "offered")  # sums over frames, no means over rows
DEAD = 0.1  # running count of frames per update below which a codeword moves; ours


@struct.dataclass
class Draws:
    """Random choices of a step for the whole global batch.

    Attributes:
        noise_BxTxC: unit Gaussian.
        stages_B: int32, quantiser stages that the row goes through.
        offers_BxT: int32, the codeword that may move to this frame; beyond the last: none.
        real_B: float32, 1 for rows with speech, 0 for empty and unreadable ones, which no loss and
            no codebook sees.
    """

    noise_BxTxC: jax.Array
    stages_B: jax.Array
    offers_BxT: jax.Array
    real_B: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters {"generator", "discriminator"} and state {"norms", "codebooks"}."""
    del channels
    generator_key, discriminator_key, books_key = jax.random.split(key, 3)
    audio_BxS = jnp.zeros((1, max(_discriminator(config).windows)))
    params = {
        "generator": _codec(config).init(generator_key, audio_BxS)["params"],
        "discriminator": _discriminator(config).init(discriminator_key, audio_BxS)["params"],
    }
    state: PyTree = {"norms": {name: jnp.zeros(()) for name in SHARED}}
    if config.codec.bottleneck == "rvq":
        books = quantizer.init(
            books_key,
            books=config.codec.structure.codebooks,
            codewords=config.codec.structure.codewords,
            width=config.codec.structure.dimension,
        )
        # As good as dead: the first batch replaces what it does not use.
        state["codebooks"] = jax.tree.map(lambda x: DEAD * x, books)
    return params, state


def start(
    key: jax.Array,
    task_state: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    config: Config,
    add_up: AddUp,
) -> PyTree:
    """Nothing is taken from the first batch."""
    del key, x_BxTxC, frames_B, config, add_up
    return task_state


def draw(
    key: jax.Array,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    config: Config,
    tokens_BxU: None = None,
) -> Draws:
    """Noise, and as many stages as there are for half of the rows, fewer for the others."""
    del tokens_BxU
    noise_key, stages_key, all_key, offers_key = jax.random.split(key, 4)
    structure, rows = config.codec.structure, len(x_BxTxC)
    frames = -(-x_BxTxC.shape[1] // structure.hop)
    most = max(structure.codebooks, 1)
    some_B = jax.random.randint(stages_key, (rows,), 1, most + 1)
    return Draws(
        noise_BxTxC=jax.random.normal(noise_key, (rows, frames, structure.dimension)),
        stages_B=jnp.where(jax.random.bernoulli(all_key, 0.5, (rows,)), most, some_B),
        offers_BxT=jax.random.permutation(offers_key, rows * frames).reshape(rows, frames),
        real_B=(frames_B > 0).astype(jnp.float32),
    )


def normalizer(draws: Draws) -> jax.Array:
    """Rows of the global batch that have speech."""
    return jnp.maximum(draws.real_B.sum(), 1.0)


def loss(
    params: PyTree,
    task_state: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    draws: Draws,
    normalizer: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of a surrogate whose gradient is the balanced one, and sums.

    Args:
        params: {"generator", "discriminator"}.
        task_state: {"norms", "codebooks"}.
        x_BxTxC: waveform [B, S, 1] in [-1, 1].
        frames_B: int32, real samples per row; what is beyond is silence and coded as such.
        draws: this microbatch's rows of `draw`.
        normalizer: rows of the global batch that have speech.
        key: None for evaluation: no noise, all stages.
        config: the configuration.
    """
    del frames_B
    audio_BxS, codec, judge = x_BxTxC[..., 0], _codec(config), _discriminator(config)
    real_B = draws.real_B
    generator = {"params": params["generator"]}
    z_BxTxC = codec.apply(generator, audio_BxS, method="encode")
    used_BxTxC, penalty, sums = _bottleneck(
        task_state, z_BxTxC, draws, config, train=key is not None
    )
    decoded_BxS = codec.apply(generator, used_BxTxC, method="decode")[:, : audio_BxS.shape[1]]

    real_logits, real_features = judge.apply({"params": params["discriminator"]}, audio_BxS)

    def distances(fake_BxS: jax.Array) -> dict[str, jax.Array]:
        fixed = jax.lax.stop_gradient(params["discriminator"])
        fake_logits, fake_features = judge.apply({"params": fixed}, fake_BxS)
        return {
            "wave": losses.row_mean(jnp.abs(audio_BxS - fake_BxS), real_B),
            "mel": losses.multi_scale_mel(
                audio_BxS, fake_BxS, real_B, sample_rate=config.features.sample_rate
            ),
            "adversarial": losses.generator_hinge(fake_logits, real_B),
            "features": losses.feature_matching(real_features, fake_features, real_B),
        }

    fake_BxS = jax.lax.stop_gradient(decoded_BxS)
    values, pull = jax.vjp(distances, fake_BxS)
    zeros = jax.tree.map(jnp.zeros_like, values)
    gradients = {name: pull({**zeros, name: jnp.ones(())})[0] for name in SHARED}
    norms = losses.gradient_norms(gradients, real_B)
    known = {
        name: jnp.where(average > 0, average, norms[name])
        for name, average in task_state["norms"].items()
    }
    balanced_BxS = losses.balance(gradients, _shares(config), known)
    surrogate = losses.row_mean((decoded_BxS * jax.lax.stop_gradient(balanced_BxS)).sum(-1), real_B)

    fake_logits, _ = judge.apply({"params": params["discriminator"]}, fake_BxS)
    discriminator = losses.discriminator_hinge(real_logits, fake_logits, real_B)

    share = real_B.sum() / normalizer
    sums |= {
        **{f"loss_{name}": value for name, value in values.items()},
        "loss_discriminator": discriminator,
        "penalty": penalty,
        "z_square": losses.row_mean(jnp.square(z_BxTxC), real_B),
        "norms": norms,
    }
    sums = {
        name: value if name in COUNTED else jax.tree.map(lambda v: share * v, value)
        for name, value in sums.items()
    }
    sums["rows"] = real_B.sum()
    return share * (surrogate + penalty + discriminator), jax.lax.stop_gradient(sums)


def _bottleneck(
    task_state: PyTree, z_BxTxC: jax.Array, draws: Draws, config: Config, *, train: bool
) -> tuple[jax.Array, jax.Array, PyTree]:
    """What the decoder sees, the penalty, and sums for the codebooks."""
    c = config.codec
    if c.bottleneck == "noise":
        penalty = c.penalty * losses.row_mean(jnp.square(z_BxTxC), draws.real_B)
        return (z_BxTxC + c.noise * draws.noise_BxTxC if train else z_BxTxC), penalty, {}
    quantised_BxTxC, distances, statistics = quantizer.residual(
        task_state["codebooks"],
        z_BxTxC,
        draws.real_B > 0,
        draws.offers_BxT,
        draws.stages_B if train else None,
    )
    penalty = sum((losses.row_mean(d, draws.real_B) for d in distances), jnp.zeros(()))
    straight = z_BxTxC + jax.lax.stop_gradient(quantised_BxTxC - z_BxTxC)
    sums = {"targets": statistics["targets"], "offered": statistics["candidates"]}
    return straight, c.penalty * penalty / c.structure.codebooks, sums


def update(
    task_state: PyTree, params: PyTree, sums: PyTree, step: jax.Array, config: Config
) -> PyTree:
    """Running averages of the gradients' norms, and the codebooks."""
    del params
    decay = jnp.minimum(config.codec.balance_decay, (1.0 + step) / (10.0 + step))
    new: PyTree = {
        "norms": jax.tree.map(
            lambda average, norm: decay * average + (1.0 - decay) * norm,
            task_state["norms"],
            sums["norms"],
        )
    }
    if "codebooks" in task_state:
        new["codebooks"] = quantizer.update_and_revive(
            task_state["codebooks"],
            sums["targets"],
            sums["offered"],
            decay=config.codec.codebook_decay,
            dead=DEAD,
        )
    return new


def average(total: PyTree) -> PyTree:
    """Sums over evaluation batches (of normalizer one) to means per row."""
    rows = jnp.maximum(total["rows"], 1.0)
    return {
        name: value if name in (*COUNTED, "rows") else jax.tree.map(lambda v: v / rows, value)
        for name, value in total.items()
    }


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step; "loss" is the weighted mean of the balanced losses' values."""
    del step
    shares = _shares(config)
    values = {name: value for name, value in sums.items() if name.startswith("loss_")}
    weighed = sum(shares[name] * sums[f"loss_{name}"] for name in SHARED)
    result = {"loss": weighed / sum(shares.values()), **values, "penalty": sums["penalty"]}
    result["latent_rms"] = jnp.sqrt(sums["z_square"])
    if "targets" in sums:
        counts_QxV = sums["targets"]["counts"]
        result["codebook_perplexity"] = quantizer.perplexity(counts_QxV)
        result["active_codewords"] = (counts_QxV > 0).sum(-1).mean(dtype=jnp.float32)
    return result


def samples(
    params: PyTree,
    average: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    key: jax.Array,
    config: Config,
) -> dict[str, jax.Array]:
    """Waveforms [B, S, 1]: real, and decoded from unquantised latents by the averaged weights."""
    del params, frames_B, key
    codec, variables = _codec(config), {"params": average["generator"]}
    z_BxTxC = codec.apply(variables, x_BxTxC[..., 0], method="encode")
    decoded_BxS = codec.apply(variables, z_BxTxC, method="decode")[:, : x_BxTxC.shape[1]]
    return {"real": x_BxTxC, "decoded": decoded_BxS[..., None]}


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """Shares of the gradient, and the rate of the latents."""
    del channels, frame_rate
    structure, shares = config.codec.structure, _shares(config)
    total = sum(shares.values())
    parts = ", ".join(f"{name} {share / total:.0%}" for name, share in shares.items())
    rate = structure.sample_rate / structure.hop
    return [f"latents: {rate:g} frames/s of {structure.dimension}", f"gradient shares: {parts}"]


def _shares(config: Config) -> dict[str, float]:
    return {name: getattr(config.codec, f"{name}_share") for name in SHARED}


def _codec(config: Config) -> Codec:
    return Codec(config.codec.structure)


def _discriminator(config: Config) -> Discriminator:
    return Discriminator(config.codec.discriminator_windows, config.codec.discriminator_filters)
