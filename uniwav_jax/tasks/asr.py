"""Recognition: a linear CTC head on a pretrained encoder (method section 7).

The functions are those of tasks/pretrain.py. `config.init_from` names the pretrained run; its
encoder is taken by name. For a while the head learns alone (train/optim.py holds the encoder).
"""

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.losses import ctc
from uniwav_jax.models import masking, uniwav
from uniwav_jax.types import AddUp, Metrics, PyTree

SAMPLING_PARTS = ()  # nothing is generated
SCORED = None
ENCODER = "encoder"  # the part of the parameters that stays as it is at first


@struct.dataclass
class Draws:
    """The texts, and what is hidden: [B, T] frames and [B, D] channels."""

    tokens_BxU: jax.Array
    span_mask_BxT: jax.Array
    channel_mask_BxD: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters {"encoder", "ctc": {"kernel" [D, V + 1], "bias", ["mix" [L + 1]]}}."""
    encoder_key, head_key = jax.random.split(key)
    width, tokens = config.model.encoder.width, len(config.asr.symbols) + 1
    x = jnp.zeros((1, 20, channels))
    encoder = uniwav.encoder_module(config).init(encoder_key, x, jnp.ones(x.shape[:2], bool))
    head = {
        "kernel": jax.nn.initializers.glorot_uniform()(head_key, (width, tokens)),
        "bias": jnp.zeros(tokens),
    }
    if config.asr.layers == "mix":
        head["mix"] = jnp.zeros(config.model.encoder.layers + 1)
    return {"encoder": encoder["params"], "ctc": head}, {}


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
    key: jax.Array, x_BxTxC: jax.Array, frames_B: jax.Array, config: Config, tokens_BxU: jax.Array
) -> Draws:
    """Spans of frames and of channels to hide."""
    time_key, channel_key = jax.random.split(key)
    asr, (rows, total, _) = config.asr, x_BxTxC.shape
    width = config.model.encoder.width
    return Draws(
        tokens_BxU=tokens_BxU,
        span_mask_BxT=_spans(time_key, frames_B, asr.time_length, total, asr.time_mask),
        channel_mask_BxD=_spans(
            channel_key, jnp.full(rows, width), asr.channel_length, width, asr.channel_mask
        ),
    )


def _spans(
    key: jax.Array, counts_B: jax.Array, length: int, total: int, probability: float
) -> jax.Array:
    if probability == 0:
        return jnp.zeros((len(counts_B), total), bool)
    return masking.sample_spans(key, counts_B, length=length, total=total, probability=probability)


def normalizer(draws: Draws) -> jax.Array:
    """Tokens of the global batch."""
    return jnp.maximum(ctc.token_mask(draws.tokens_BxU).sum(), 1).astype(jnp.float32)


def logits(params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array, config: Config) -> jax.Array:
    """Scores of blank and tokens in evaluation mode, float32 [B, T, V + 1]."""
    return _logits(params, x_BxTxC, frames_B, config, {})


def _logits(
    params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array, config: Config, hidden: PyTree
) -> jax.Array:
    encoder, head = params["encoder"], params["ctc"]
    if config.asr.frozen:
        encoder = jax.lax.stop_gradient(encoder)
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    encoded = uniwav.encoder_module(config).apply(
        {"params": encoder}, x_BxTxC, frame_mask, **hidden
    )
    h = uniwav.layer_sum(head["mix"], encoded) if "mix" in head else encoded.final
    product = h @ head["kernel"].astype(h.dtype)
    return product.astype(jnp.float32) + head["bias"]


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
    """This microbatch's share of the loss per token, and sums.

    In evaluation (`key` None) nothing is hidden, and the sums have "outputs": {"path_BxT": the
    best token of each frame, -1 on padding}.
    """
    del task_state
    hidden = {}
    if key is not None:
        hidden = {
            "span_mask_BxT": draws.span_mask_BxT,
            "channel_mask_BxD": draws.channel_mask_BxD,
            "key": key,
        }
    logits_BxTxV = _logits(params, x_BxTxC, frames_B, config, hidden)
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    fits_B = ctc.possible(frame_mask, draws.tokens_BxU)
    nats = ctc.loss(logits_BxTxV, frame_mask, draws.tokens_BxU).sum() / normalizer
    path_BxT = jnp.where(frame_mask, logits_BxTxV.argmax(-1), -1)
    tokens_B = ctc.token_mask(draws.tokens_BxU).sum(-1)
    sums = {
        "loss": nats,
        "tokens": jnp.where(fits_B, tokens_B, 0).sum(dtype=jnp.float32),
        "impossible": ((frames_B > 0) & ~fits_B).sum(dtype=jnp.float32),
        "blanks": (path_BxT == 0).sum(dtype=jnp.float32),
        "frames": frame_mask.sum(dtype=jnp.float32),
    }
    sums = jax.lax.stop_gradient(sums)
    if key is None:
        sums["outputs"] = {"path_BxT": path_BxT}
    return nats, sums


def update(
    task_state: PyTree, params: PyTree, sums: PyTree, step: jax.Array, config: Config
) -> PyTree:
    """There is no task state."""
    del params, sums, step, config
    return task_state


def average(total: PyTree) -> PyTree:
    """Sums over evaluation batches (of normalizer one) to the loss per token."""
    return {**total, "loss": total["loss"] / jnp.maximum(total["tokens"], 1)}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step: nats per token, rows whose text is too long for them, share of blanks."""
    del step, config
    return {
        "loss": sums["loss"],
        "impossible_rows": sums["impossible"],
        "blank_share": sums["blanks"] / jnp.maximum(sums["frames"], 1),
    }


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """The alphabet, and what is held for how long."""
    del channels
    asr = config.asr
    held = "for good" if asr.frozen else f"for {asr.freeze_steps} updates"
    lines = [f"alphabet: {len(asr.symbols)} {asr.units}: {' '.join(asr.symbols)}"]
    if asr.frozen or asr.freeze_steps:
        lines.append(f"the head learns alone {held}")
    return [*lines, f"{frame_rate:g} frames a second; texts that need more are left out"]
