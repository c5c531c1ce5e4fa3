"""The random choices of an update of task tokenizer: what is hidden, and what the decoder reads."""

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.models import flow, masking, quantizer
from uniwav_jax.tasks import tokenizer_ctc
from uniwav_jax.types import Example

NULL, UNQUANTISED = 0, -1  # what the decoder reads; 1 to K is a number of books


@struct.dataclass
class Draws:
    """All random choices of an update except dropout.

    Attributes:
        hidden_BxT: bool, True on the frames that are generated.
        t_B: float32, flow time in [0, 1).
        x0_BxTxC: float32, unit Gaussian noise at which the flow starts.
        level_B: int32, what the decoder reads: a number of books, or `NULL`, or `UNQUANTISED`.
        candidates_BxT: int32, the codeword that may move to this frame; V or more for none.
        per_phone_B: float32, one divided by the number of phones of the global batch, the same in
            all rows; None without a CTC term.
    """

    hidden_BxT: jax.Array
    t_B: jax.Array
    x0_BxTxC: jax.Array
    level_B: jax.Array
    candidates_BxT: jax.Array
    per_phone_B: jax.Array | None = None


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random choices of an update, each field of `Draws` with the rows of `example`."""
    names = ("span", "prompt", "t", "noise", "level", "candidates")
    keys = dict(zip(names, jax.random.split(key, len(names))))
    rows, total, _ = example.x_BxTxC.shape
    options, frames_B = config.tokenizer, example.frames_B
    mask_BxT = masking.frame_mask(frames_B, total)
    span_BxT = masking.sample_span(
        keys["span"], frames_B, low=options.mask_low, high=options.mask_high, total=total
    )
    prompted_B = jax.random.bernoulli(keys["prompt"], options.prompt, (rows,))
    u_B = jax.random.uniform(keys["level"], (rows,))
    bounds = jnp.cumsum(jnp.array([options.drop, options.unquantised, options.first_book]))
    level_B = jnp.array([NULL, UNQUANTISED, 1, options.books])[(u_B[:, None] >= bounds).sum(1)]
    per_phone_B = None
    if options.ctc:
        phones = tokenizer_ctc.targets(mask_BxT, example.labels["phones"])[1].sum()
        per_phone_B = jnp.broadcast_to(1.0 / jnp.maximum(phones, 1), (rows,))
    return Draws(
        hidden_BxT=jnp.where(prompted_B[:, None], span_BxT, mask_BxT),
        t_B=flow.times(keys["t"], rows, stratified=config.flow.stratified),
        x0_BxTxC=jax.random.normal(keys["noise"], example.x_BxTxC.shape),
        level_B=level_B,
        candidates_BxT=quantizer.choose_frames(keys["candidates"], mask_BxT, options.codewords),
        per_phone_B=per_phone_B,
    )


def weight(example: Example, draws: Draws) -> jax.Array:
    """Number of hidden frames in the global batch, float32 [], at least 1."""
    del example
    return jnp.maximum(draws.hidden_BxT.sum(), 1).astype(jnp.float32)
