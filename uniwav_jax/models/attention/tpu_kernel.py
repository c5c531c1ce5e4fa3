"""Attention as one TPU kernel with ALiBi and dropout, which JAX's splash kernel lacks.

Each block of queries reads the keys of its whole row at once, so softmax needs no running maximum.
Only queries, keys and values are saved for the backward pass, which computes the weights again. The
random bits of dropout are hashes of positions (`models.dropout`); the kernel computes the same bits
as the other implementations. Rows need no padding in memory: a block that reaches beyond the end of
its row reads undefined values there, which the kernel replaces with zeros.

Shapes: Q is the number of queries in a block, G the number of heads in a group (so that G d is a
multiple of LANES).
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from uniwav_jax.models import dropout
from uniwav_jax.models.attention.formula import LANES, NEGATIVE

BLOCK = 2**18  # largest number of weights at a time, but never fewer than LANES queries


class Options(NamedTuple):
    """Values that are constant when the kernel is compiled."""

    frames: int  # T
    width: int  # d of each head
    heads: int  # H on all devices together
    rate: float  # share of the weights that dropout sets to zero
    alibi: bool  # whether the slopes are read
    interpret: Any = False  # True or `pltpu.InterpretParams`: run on any platform, slowly


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attention(
    options: Options,
    numbers: jax.Array,
    slopes_H: jax.Array,
    q_BxTxHd: jax.Array,
    k_BxTxHd: jax.Array,
    v_BxTxHd: jax.Array,
) -> jax.Array:
    """Attention as defined in `models.attention`, for rows of at most `fused.LONGEST` frames.

    Args:
        options: constants of the kernel.
        numbers: int32 [4 + B]: the seed of dropout (2 numbers), the indices of this device's first
            row and first head in the whole array, and the number of real frames per row.
        slopes_H: float32, of ALiBi; read only with `options.alibi`.
        q_BxTxHd, k_BxTxHd, v_BxTxHd: one float dtype; the last axis has all heads' channels.

    Returns:
        [B, T, H d] in the dtype of the inputs.
    """
    inputs = (q_BxTxHd, k_BxTxHd, v_BxTxHd)
    return _call(options, _forward, numbers, slopes_H, inputs, "q", 0)[0]


def _attention_forward(
    options: Options, numbers: jax.Array, slopes_H: jax.Array, *qkv: jax.Array
) -> tuple[jax.Array, tuple[Any, ...]]:
    return attention(options, numbers, slopes_H, *qkv), (numbers, slopes_H, *qkv)


def _attention_backward(
    options: Options, kept: tuple[Any, ...], gradient_BxTxHd: jax.Array
) -> tuple[Any, ...]:
    numbers, slopes_H, *qkv = kept
    inputs = (*qkv, gradient_BxTxHd)
    gradients = _call(options, _backward, numbers, slopes_H, inputs, "qkk", 2)
    return np.zeros(numbers.shape, jax.dtypes.float0), jnp.zeros_like(slopes_H), *gradients


attention.defvjp(_attention_forward, _attention_backward)


def _call(
    options: Options,
    kernel: Any,
    numbers: jax.Array,
    slopes_H: jax.Array,
    inputs: tuple[jax.Array, ...],
    outputs: str,
    sums: int,
) -> list[jax.Array]:
    """Run `kernel` for all rows, groups of heads and blocks of queries.

    Args:
        options, numbers, slopes_H: as for `attention`.
        kernel: `_forward` or `_backward`.
        inputs: queries, keys, values and, for `_backward`, the gradient of the result, each
            [B, T, H d].
        outputs: one letter per output: "q" if the kernel writes it in blocks of queries, "k" if it
            writes whole rows.
        sums: number of float32 buffers [T, G d] in which the kernel accumulates over a row's
            blocks.

    Returns:
        The outputs, each [B, T, H d] in the dtype of the inputs.
    """
    batch, frames, whole = inputs[0].shape
    lanes = _group(whole // options.width, options.width) * options.width
    padded = -(-frames // LANES) * LANES  # frames of the blocks; the arrays are not padded
    block = _block(padded)
    specs = {
        "q": pl.BlockSpec((1, block, lanes), lambda b, g, i, *_: (b, i, g)),
        "k": pl.BlockSpec((1, padded, lanes), lambda b, g, i, *_: (b, 0, g)),
    }
    matmuls = 2 if kernel is _forward else 5
    return pl.pallas_call(
        functools.partial(kernel, options),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(batch, whole // lanes, padded // block),
            in_specs=[specs[name] for name in "qkkq"[: len(inputs)]],
            out_specs=[specs[name] for name in outputs],
            scratch_shapes=[pltpu.VMEM((padded, lanes), jnp.float32)] * sums,
        ),
        out_shape=[jax.ShapeDtypeStruct(inputs[0].shape, inputs[0].dtype) for _ in outputs],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * matmuls * batch * frames**2 * whole,
            transcendentals=batch * frames**2 * whole // options.width,
            bytes_accessed=(len(inputs) + len(outputs)) * inputs[0].nbytes,
        ),
        interpret=options.interpret,
        name=kernel.__name__.strip("_") + "_attention",
    )(numbers, slopes_H, *inputs)


def _group(heads: int, width: int) -> int:
    """Number of heads in a group: the smallest that fills whole registers, otherwise all heads."""
    return next((n for n in range(1, heads) if n * width % LANES == 0 and heads % n == 0), heads)


def _block(frames: int) -> int:
    """Number of queries in a block: a multiple of LANES that divides `frames`."""
    most = max(BLOCK // frames, LANES)
    return max(b for b in range(LANES, most + 1, LANES) if frames % b == 0)


def _forward(options: Options, numbers: Any, slopes: Any, q: Any, k: Any, v: Any, out: Any) -> None:
    """Compute attention for one block of queries; q and out [1, Q, G d], k and v [1, T, G d]."""
    queries, keys, values = q[0], k[0], _real(v, 0, options.frames)
    attended_QxGd = jnp.zeros(queries.shape, jnp.float32)
    for head in range(queries.shape[1] // options.width):
        mine = _of_head(options, head, queries.shape)
        queries_of = jnp.where(mine, queries, 0)
        weights_QxT, total_Qx1, kept_QxT = _weights(
            options, numbers, slopes, head, queries_of, keys
        )
        if options.rate:
            weights_QxT = jnp.where(kept_QxT, weights_QxT, 0)
            total_Qx1 *= 1.0 - options.rate
        summed = _product(weights_QxT.astype(values.dtype), values, 1, 0)
        attended_QxGd = jnp.where(mine, summed / total_Qx1, attended_QxGd)
    out[0] = attended_QxGd.astype(values.dtype)


def _backward(
    options: Options,
    numbers: Any,
    slopes: Any,
    q: Any,
    k: Any,
    v: Any,
    gradient: Any,
    q_gradient: Any,
    k_gradient: Any,
    v_gradient: Any,
    k_sum: Any,
    v_sum: Any,
) -> None:
    """Compute the gradients of one block's queries, and accumulate those of keys and values.

    q, gradient and q_gradient are [1, Q, G d]; k, v, k_gradient and v_gradient are [1, T, G d]; the
    buffers k_sum and v_sum are float32 [T, G d]. The last block of a row writes k_gradient and
    v_gradient.
    """

    @pl.when(pl.program_id(2) == 0)
    def start() -> None:
        k_sum[...] = jnp.zeros_like(k_sum)
        v_sum[...] = jnp.zeros_like(v_sum)

    first, frames = pl.program_id(2) * q.shape[1], options.frames
    queries, dout = _real(q, first, frames), _real(gradient, first, frames)
    keys, values = _real(k, 0, frames), _real(v, 0, frames)
    dqueries_QxGd = jnp.zeros(queries.shape, jnp.float32)
    for head in range(queries.shape[1] // options.width):
        mine = _of_head(options, head, queries.shape)
        queries_of, dout_of = jnp.where(mine, queries, 0), jnp.where(mine, dout, 0)
        weights_QxT, total_Qx1, kept_QxT = _weights(
            options, numbers, slopes, head, queries_of, keys
        )
        weights_QxT /= total_Qx1
        used, dweights_QxT = weights_QxT, _product(dout_of, values, 1, 1)
        if options.rate:
            scale = 1.0 / (1.0 - options.rate)
            used = jnp.where(kept_QxT, weights_QxT * scale, 0)
            dweights_QxT = jnp.where(kept_QxT, dweights_QxT * scale, 0)
        v_sum[...] += _product(used.astype(dout.dtype), dout_of, 0, 0)
        mean_Qx1 = (weights_QxT * dweights_QxT).sum(-1, keepdims=True)
        dlogits = weights_QxT * (dweights_QxT - mean_Qx1) / math.sqrt(options.width)
        dlogits = dlogits.astype(queries.dtype)
        dqueries_QxGd = jnp.where(mine, _product(dlogits, keys, 1, 0), dqueries_QxGd)
        k_sum[...] += _product(dlogits, queries_of, 0, 0)
    q_gradient[0] = dqueries_QxGd.astype(queries.dtype)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def finish() -> None:
        k_gradient[0] = k_sum[...].astype(k_gradient.dtype)
        v_gradient[0] = v_sum[...].astype(v_gradient.dtype)


def _real(ref: Any, first: Any, frames: int) -> jax.Array:
    """Read a block [Q or T, G d] that begins at frame `first`; it is zero beyond the row's end."""
    block = ref[0]
    if frames % block.shape[0] == 0:
        return block
    frame = first + jax.lax.broadcasted_iota(jnp.int32, block.shape, 0)
    return jnp.where(frame < frames, block, 0)


def _of_head(options: Options, head: int, shape: tuple[int, ...]) -> jax.Array:
    """True on the lanes of one head of the group; bool of `shape`.

    A matmul over all lanes with zeros outside a head costs no more than one over its own lanes.
    """
    lane = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    return (lane >= head * options.width) & (lane < (head + 1) * options.width)


def _weights(
    options: Options,
    numbers: Any,
    slopes: Any,
    head: int,
    queries: jax.Array,
    keys: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Weights before division and dropout [Q, T], their sums [Q, 1], and dropout's mask [Q, T]."""
    row, group, block = (pl.program_id(axis) for axis in range(3))
    head = group * (queries.shape[1] // options.width) + head  # among this device's heads
    logits = _product(queries, keys, 1, 1) / math.sqrt(options.width)
    query = block * logits.shape[0] + jax.lax.broadcasted_iota(jnp.int32, logits.shape, 0)
    key = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    if options.alibi:
        logits -= slopes[head] * jnp.abs(query - key).astype(jnp.float32)
    logits = jnp.where(key < numbers[4 + row], logits, NEGATIVE)
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    kept = None
    if options.rate:
        first = (numbers[2] + row) * options.heads + numbers[3] + head
        index = (first * options.frames + query) * options.frames + key
        seed = [numbers[n].astype(jnp.uint32) for n in range(2)]
        kept = dropout.kept(seed, index.astype(jnp.uint32), options.rate)
    return weights, weights.sum(-1, keepdims=True), kept


def _product(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    """Matrix product, float32, that sums over `axis_a` of a and `axis_b` of b."""
    dimensions = (((axis_a,), (axis_b,)), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
