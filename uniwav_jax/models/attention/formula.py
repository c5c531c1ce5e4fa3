"""Attention in plain JAX: all at once, by blocks of queries, or one head after another.

Matmuls read the dtype of their inputs and accumulate in float32; softmax is computed in float32.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.models import dropout

NEGATIVE = -1e9  # replaces -inf in logits, so that a fully padded row stays finite
LANES = 128  # width of a TPU register; JAX's TPU kernel needs a multiple of this many frames
CHUNK = 256  # largest number of queries per block


def alibi_slopes(heads: int) -> np.ndarray:
    """Slopes 2^(-8h/H), h = 1..H, of the bias -slope_h |i - j|; float32 [H]."""
    return (2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)).astype(np.float32)


def rows(
    q_BxHxQxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    first: jax.Array | int = 0,
    *,
    slopes: np.ndarray | jax.Array | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Attention of Q neighbouring queries of each row.

    Args:
        q_BxHxQxd: queries of the frames `first` to `first` + Q - 1, any float dtype.
        k_BxHxTxd, v_BxHxTxd: keys and values of all frames, any float dtype.
        frame_mask_BxT: bool, True on real frames.
        first: int32 [], frame of the first query.
        slopes: float32 [H] of symmetric ALiBi, or None.
        rate: share of the weights that dropout sets to zero; 0 for none.
        seed: uint32 [2] of `dropout.seed`; read only when `rate` is not 0.

    Returns:
        [B, H, Q, d] in the dtype of the values.
    """
    heads, frames = k_BxHxTxd.shape[1:3]
    logits = _product("BHQd,BHTd->BHQT", q_BxHxQxd, k_BxHxTxd) / math.sqrt(q_BxHxQxd.shape[-1])
    axis = functools.partial(jax.lax.broadcasted_iota, jnp.int32, logits.shape)
    query = first + axis(2)
    if slopes is not None:
        logits -= jnp.asarray(slopes)[:, None, None] * jnp.abs(query - axis(3))
    logits = jnp.where(frame_mask_BxT[:, None, None], logits, NEGATIVE)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    if rate:
        row = (axis(0) * heads + axis(1)).astype(jnp.uint32) * jnp.uint32(frames)
        index = (row + query.astype(jnp.uint32)) * jnp.uint32(frames) + axis(3).astype(jnp.uint32)
        weights = jnp.where(dropout.kept(seed, index, rate), weights, 0)
        total *= 1.0 - rate
    # Divide after the product with v, because that array is only d wide, not T.
    attended = _product("BHQT,BHTd->BHQd", weights.astype(v_BxHxTxd.dtype), v_BxHxTxd)
    return (attended / total).astype(v_BxHxTxd.dtype)


def chunks(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    **options: object,
) -> jax.Array:
    """Apply `rows` to one block of at most CHUNK queries after another, without an array [T, T].

    The backward pass computes each block again. `options` are the keyword arguments of `rows`.

    Returns:
        [B, H, T, d] in the dtype of the values.
    """
    batch, heads, frames, width = q_BxHxTxd.shape
    fitting = [size for size in range(CHUNK // 2, CHUNK + 1, 8) if frames % size == 0]
    size = max(fitting, default=CHUNK)  # a size that divides the row needs no padding
    blocks = -(-frames // size)
    padded = jnp.pad(q_BxHxTxd, ((0, 0), (0, 0), (0, blocks * size - frames), (0, 0)))
    padded = jnp.moveaxis(padded.reshape(batch, heads, blocks, size, width), 2, 0)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def block(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        queries, first = part
        return rows(queries, k_BxHxTxd, v_BxHxTxd, frame_mask_BxT, first, **options)

    attended = jax.lax.map(block, (padded, size * jnp.arange(blocks)))
    attended = jnp.moveaxis(attended, 0, 2).reshape(batch, heads, blocks * size, width)
    return attended[:, :, :frames]


def heads(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    slopes_H: jax.Array | None,
) -> jax.Array:
    """Apply `rows` to one head of a row after another, so that weights stay in a CPU's caches.

    There is no dropout. `slopes_H` are the slopes of symmetric ALiBi, float32, or None.

    Returns:
        [B, H, T, d] in the dtype of the values.
    """
    shape = v_BxHxTxd.shape
    batch, count = shape[:2]

    def head(part: tuple[jax.Array, ...]) -> jax.Array:
        *qkv, mask_1xT, slope_1 = part
        slopes = None if slopes_H is None else slope_1
        found = rows(*(a[None, None] for a in qkv), mask_1xT, slopes=slopes, rate=0.0, seed=None)
        return found[0, 0]

    qkv = (a.reshape(batch * count, *a.shape[2:]) for a in (q_BxHxTxd, k_BxHxTxd, v_BxHxTxd))
    mask = jnp.repeat(frame_mask_BxT[:, None], count, axis=0)
    slopes = jnp.zeros(count) if slopes_H is None else slopes_H
    return jax.lax.map(head, (*qkv, mask, jnp.tile(slopes[:, None], (batch, 1)))).reshape(shape)


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)
