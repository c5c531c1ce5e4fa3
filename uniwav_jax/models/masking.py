"""Span masking with fixed shapes, for use under jit."""

import jax
import jax.numpy as jnp


def sample_spans(
    key: jax.Array, frames_B: jax.Array, *, length: int, total: int, probability: float
) -> jax.Array:
    """Hide random spans of `length` frames, which may overlap but start at different frames.

    A row of n real frames gets floor(probability * n / length + u) spans, u ~ U(0, 1), but at least
    one, and all are inside its real frames. With probability 0.8 about 57 % of the frames are
    hidden. A row that is shorter than one span is hidden completely, a row without audio not at
    all.

    Args:
        key: random key.
        frames_B: int32, real frames per row.
        length: frames per span.
        total: T, frames of the padded rows.
        probability: expected share of frames covered if spans did not overlap.

    Returns:
        span_mask_BxT, bool, True where a frame is hidden.
    """
    count_key, start_key = jax.random.split(key)
    rows = frames_B.shape[0]
    u = jax.random.uniform(count_key, (rows,))
    starts_possible = jnp.maximum(frames_B - length + 1, 1)
    count = jnp.floor(probability * frames_B / length + u).astype(jnp.int32)
    count = jnp.clip(count, 1, starts_possible)
    # The starts with the `count` smallest random numbers are a sample without replacement.
    position = jnp.arange(total)
    score = jax.random.uniform(start_key, (rows, total))
    score = jnp.where(position < starts_possible[:, None], score, jnp.inf)
    threshold = jnp.take_along_axis(jnp.sort(score, axis=-1), count[:, None] - 1, axis=-1)
    started = jnp.cumsum(score <= threshold, axis=-1)
    # A frame is hidden if a span started at it or in the `length` - 1 frames before it.
    before = jnp.pad(started, ((0, 0), (length, 0)))[:, :total]
    return (started > before) & (position < frames_B[:, None])


def frame_mask(frames_B: jax.Array, total: int) -> jax.Array:
    """Bool [B, T], True on the first `frames_B` (int32) of `total` frames."""
    return jnp.arange(total) < frames_B[:, None]


def sample_span(
    key: jax.Array, frames_B: jax.Array, *, low: float, high: float, total: int
) -> jax.Array:
    """Hide one contiguous span of each row: a share U[low, high] of its frames, at least one.

    Args:
        key: random key.
        frames_B: int32, real frames per row.
        low, high: shares of the frames.
        total: T, frames of the padded rows.

    Returns:
        hidden_BxT, bool, True where a frame is hidden.
    """
    share_key, start_key = jax.random.split(key)
    rows = frames_B.shape[0]
    share = jax.random.uniform(share_key, (rows,), minval=low, maxval=high)
    count = jnp.clip(jnp.round(share * frames_B).astype(jnp.int32), 1, frames_B)
    room = frames_B - count + 1
    start = jnp.floor(jax.random.uniform(start_key, (rows,)) * room).astype(jnp.int32)
    position = jnp.arange(total)
    return (position >= start[:, None]) & (position < (start + count)[:, None])
