"""Bidirectional attention over whole rows, in four implementations of one formula.

    softmax(q k^T / sqrt(d) - slope |i - j|) v        keys on padding hidden, softmax in float32

"xla" is the formula as it stands. "chunk" computes blocks of queries in turn and again in the
backward pass, so that no [T, T] array is ever held. "cudnn" (GPU, bfloat16) and "splash" (TPU) are
fused kernels, which know neither biases nor dropout. "auto" takes the fused kernel of the platform
that the program is compiled for where it can be used, else "chunk" on accelerators, "xla" on CPU.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from uniwav_jax import distributed
from uniwav_jax.errors import UserError
from uniwav_jax.models import dropout

NEGATIVE = -1e9  # stands for -inf in logits: a fully padded row stays finite
CHUNK = 256  # most queries per block
KEPT = "attention"  # name of what remat=attention keeps for the backward pass
LANES = 128  # splash wants a multiple of this many frames


def attend(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    *,
    slopes: np.ndarray | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    implementation: str = "auto",
) -> jax.Array:
    """Attention of every query to all real frames of its row.

    Args:
        q_BxHxTxd, k_BxHxTxd, v_BxHxTxd: any float dtype.
        frame_mask_BxT: bool, True on the real frames, which come first.
        slopes: float32 [H] of symmetric ALiBi, or None.
        dropout_rate: share of attention weights dropped when `dropout_key` is given.
        implementation: "auto", "xla", "chunk", or without slopes and dropout "cudnn" or "splash".

    Returns:
        [B, H, T, d] in the dtype of `v`.

    Raises:
        UserError: "cudnn" on another platform or in float32.
    """
    rate = 0.0 if dropout_key is None else dropout_rate
    if implementation == "auto":
        implementation = _best(slopes is None and not rate, v_BxHxTxd.dtype)
    arrays = (q_BxHxTxd, k_BxHxTxd, v_BxHxTxd, frame_mask_BxT)
    if implementation in ("cudnn", "splash"):
        return {"cudnn": cudnn, "splash": splash}[implementation](*arrays)
    seed = dropout.seed(dropout_key) if rate else None
    function = {"xla": _rows, "chunk": _chunks}[implementation]
    return function(*arrays, slopes=slopes, rate=rate, seed=seed)


def _best(fusible: bool, dtype: jnp.dtype) -> str:
    """The implementation for the platform compiled for."""
    if distributed.platform() == "cpu":
        return "xla"
    if fusible and distributed.platform() == "tpu":
        return "splash"
    if fusible and distributed.platform() == "gpu" and dtype == jnp.bfloat16:
        return "cudnn"
    return "chunk"


def alibi_slopes(heads: int) -> np.ndarray:
    """Slopes 2^(-8h/H), h = 1..H, of the bias -slope_h |i - j|; float32 [H]."""
    return (2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)).astype(np.float32)


def _rows(
    q_BxHxQxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    first: jax.Array | int = 0,
    *,
    slopes: np.ndarray | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """The formula for the queries of frames `first`, `first` + 1, ..."""
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
    # Divided last: the array is d wide here, not T.
    attended = _product("BHQT,BHTd->BHQd", weights.astype(v_BxHxTxd.dtype), v_BxHxTxd)
    return (attended / total).astype(v_BxHxTxd.dtype)


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _chunks(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    **formula: object,
) -> jax.Array:
    """`_rows` for blocks of queries in turn, computed again in the backward pass."""
    batch, heads, frames, width = q_BxHxTxd.shape
    fitting = [size for size in range(CHUNK // 2, CHUNK + 1, 8) if frames % size == 0]
    size = max(fitting, default=CHUNK)  # one that divides the row needs no padding
    blocks = -(-frames // size)
    padded = jnp.pad(q_BxHxTxd, ((0, 0), (0, 0), (0, blocks * size - frames), (0, 0)))
    padded = jnp.moveaxis(padded.reshape(batch, heads, blocks, size, width), 2, 0)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def block(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        queries, first = part
        return _rows(queries, k_BxHxTxd, v_BxHxTxd, frame_mask_BxT, first, **formula)

    attended = jax.lax.map(block, (padded, size * jnp.arange(blocks)))
    attended = jnp.moveaxis(attended, 0, 2).reshape(batch, heads, blocks * size, width)
    return attended[:, :, :frames]


def cudnn(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
) -> jax.Array:
    """The fused kernel of cuDNN, as jax.nn has it; padding goes in as lengths."""
    if distributed.platform() != "gpu" or v_BxHxTxd.dtype != jnp.bfloat16:
        raise UserError(
            "config.model.attention=cudnn needs an NVIDIA GPU and model.compute_dtype=bfloat16;"
            f" found {distributed.platform()} and {v_BxHxTxd.dtype}; choose auto"
        )
    q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q_BxHxTxd, k_BxHxTxd, v_BxHxTxd))
    # A row without frames must see something: no weights at all would be NaN.
    lengths = jnp.maximum(frame_mask_BxT.sum(-1), 1).astype(jnp.int32)
    attended = jax.nn.dot_product_attention(
        q, k, v, key_value_seq_lengths=lengths, implementation="cudnn"
    )
    return jnp.swapaxes(attended, 1, 2)


def splash(
    q_BxHxTxd: jax.Array,
    k_BxHxTxd: jax.Array,
    v_BxHxTxd: jax.Array,
    frame_mask_BxT: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """JAX's splash kernel for TPU; `interpret` runs it on any platform, slowly, for tests."""
    from jax.experimental.pallas.ops.tpu import splash_attention  # a second to import

    heads, frames, width = q_BxHxTxd.shape[1:]
    padding = ((0, 0), (0, 0), (0, -frames % LANES), (0, 0))
    scaled = (q_BxHxTxd.astype(jnp.float32) / math.sqrt(width)).astype(q_BxHxTxd.dtype)
    q, k, v = (jnp.pad(a, padding) for a in (scaled, k_BxHxTxd, v_BxHxTxd))
    # Padded queries see the real frames, as in the other implementations.
    segment = jnp.pad(frame_mask_BxT.astype(jnp.int32), ((0, 0), (0, -frames % LANES)))

    def local(q: jax.Array, k: jax.Array, v: jax.Array, segment: jax.Array) -> jax.Array:
        total = q.shape[2]
        full = splash_attention.FullMask((total, total))
        block, part = _divisor(total, 1024), _divisor(total, 512)
        kernel = splash_attention.make_splash_mha_single_device(
            splash_attention.MultiHeadMask([full] * q.shape[1]),
            block_sizes=splash_attention.BlockSizes(
                block_q=block,
                block_kv=block,
                block_kv_compute=part,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_kv_dkv_compute=part,
                use_fused_bwd_kernel=True,
            ),
            residual_checkpoint_name=KEPT,
            interpret=interpret,
        )
        one = jnp.ones(total, jnp.int32)

        def row(q: jax.Array, k: jax.Array, v: jax.Array, segment: jax.Array) -> jax.Array:
            return kernel(q, k, v, splash_attention.SegmentIds(q=one, kv=segment))

        return jax.vmap(row)(q, k, v, segment)

    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        # XLA cannot divide a kernel: each device runs it on its rows and heads.
        rows = mesh.shape["data"] * mesh.shape["fsdp"]
        by_rows = ("data", "fsdp") if len(q) % rows == 0 else None
        by_heads = "tensor" if heads % mesh.shape["tensor"] == 0 else None
        spec = PartitionSpec(by_rows, by_heads)
        local = jax.shard_map(
            local,
            in_specs=(spec, spec, spec, PartitionSpec(by_rows)),
            out_specs=spec,
            check_vma=False,
        )
    return local(q, k, v, segment)[:, :, :frames]


def _divisor(frames: int, most: int) -> int:
    """Largest multiple of LANES that divides `frames` and is at most `most`."""
    return max(b for b in range(LANES, most + 1, LANES) if frames % b == 0)
