"""The random choices of an update of pretraining."""

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.models import flow, masking, quantizer
from uniwav_jax.types import Example


@struct.dataclass
class Draws:
    """All random choices of a step except dropout, drawn for the whole global batch.

    They therefore do not depend on the division into microbatches, and the number of masked frames
    is known before the first microbatch.

    Attributes:
        span_mask_BxT: bool, True on frames that are hidden from the student.
        t_B: float32, flow time in [0, 1).
        x0_BxTxC: float32, unit Gaussian noise at which the flow starts.
        drop_B: bool, True for rows whose conditioning z is replaced by the null vector.
        candidates_BxT: int32, the codeword that may move to this frame if it is rarely used; V or
            more for none. None if codewords do not move.
        counted_BxT: float32, how often a frame counts in L_dec, whose sum over the batch is the
            number of masked frames. None if only the masked frames count.
    """

    span_mask_BxT: jax.Array
    t_B: jax.Array
    x0_BxTxC: jax.Array
    drop_B: jax.Array
    candidates_BxT: jax.Array | None = None
    counted_BxT: jax.Array | None = None


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random choices of an update, each field of `Draws` with the rows of `example`."""
    x_BxTxC, frames_B = example.x_BxTxC, example.frames_B
    span_key, t_key, noise_key, drop_key = jax.random.split(key, 4)
    rows, total, _ = x_BxTxC.shape
    span_mask_BxT = masking.sample_spans(
        span_key,
        frames_B,
        length=config.masking.length,
        total=total,
        probability=config.masking.probability,
    )
    candidates_BxT = None
    if config.distillation.codebook_dead:
        candidates_BxT = quantizer.choose_frames(
            jax.random.fold_in(span_key, 1), span_mask_BxT, config.distillation.codewords
        )
    counted_BxT = None
    if config.flow.frames == "all":
        frame_mask_BxT = masking.frame_mask(frames_B, total)
        share = span_mask_BxT.sum() / jnp.maximum(frame_mask_BxT.sum(), 1)
        counted_BxT = frame_mask_BxT * share.astype(jnp.float32)
    return Draws(
        span_mask_BxT=span_mask_BxT,
        t_B=flow.times(t_key, rows, stratified=config.flow.stratified),
        x0_BxTxC=jax.random.normal(noise_key, x_BxTxC.shape),
        drop_B=jax.random.bernoulli(drop_key, config.flow.condition_drop, (rows,)),
        candidates_BxT=candidates_BxT,
        counted_BxT=counted_BxT,
    )
