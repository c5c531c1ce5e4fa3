"""Bidirectional attention over whole rows, in five implementations of one formula.

    softmax(q k^T / sqrt(d) - slope |i - j|) v        keys on padding hidden, softmax in float32

"xla" is the formula as it stands. "chunk" computes blocks of queries in turn and again in the
backward pass, so that no [T, T] array is ever held. Fused kernels: "pallas" (TPU, ours, rows of up
to 4096 frames), and those that know neither biases nor dropout, "splash" (TPU, JAX's) and "cudnn"
(GPU, bfloat16). "auto" takes the first of these that can be used on the platform that the program
is compiled for, else "chunk" on accelerators, "xla" on CPU.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from uniwav_jax.errors import UserError
from uniwav_jax.models import dropout
from uniwav_jax.parallel import mesh as mesh_lib

NEGATIVE = -1e9  # stands for -inf in logits: a fully padded row stays finite
CHUNK = 256  # most queries per block
KEPT = "attention"  # name of what remat=attention keeps for the backward pass
LANES = 128  # the kernels for TPU want a multiple of this many frames
LONGEST = 4096  # frames of a row for "pallas": the weights of LANES queries must fit on the chip


def attend(
    q_BxTxHxd: jax.Array,
    k_BxTxHxd: jax.Array,
    v_BxTxHxd: jax.Array,
    frame_mask_BxT: jax.Array,
    *,
    slopes: np.ndarray | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    implementation: str = "auto",
) -> jax.Array:
    """Attention of every query to all real frames of its row.

    Args:
        q_BxTxHxd, k_BxTxHxd, v_BxTxHxd: any float dtype.
        frame_mask_BxT: bool, True on the real frames, which come first.
        slopes: float32 [H] of symmetric ALiBi, or None.
        dropout_rate: share of attention weights dropped when `dropout_key` is given.
        implementation: "auto", "xla", "chunk", "pallas", or without slopes and dropout "cudnn" or
            "splash".

    Returns:
        [B, T, H, d] in the dtype of `v`.

    Raises:
        UserError: a fused kernel on another platform; "cudnn" in float32.
    """
    rate = 0.0 if dropout_key is None else dropout_rate
    if implementation == "auto":
        implementation = _best(slopes is None and not rate, v_BxTxHxd)
    arrays = (q_BxTxHxd, k_BxTxHxd, v_BxTxHxd)
    if implementation == "cudnn":
        return cudnn(*arrays, frame_mask_BxT)
    seed = dropout.seed(dropout_key) if rate else None
    formula = {"slopes": slopes, "rate": rate, "seed": seed}
    if implementation == "pallas":
        return pallas(*arrays, frame_mask_BxT, **formula)
    by_heads = (jnp.swapaxes(a, 1, 2) for a in arrays)
    if implementation == "splash":
        attended = splash(*by_heads, frame_mask_BxT)
    else:
        function = {"xla": _rows, "chunk": _chunks}[implementation]
        attended = function(*by_heads, frame_mask_BxT, **formula)
    return jnp.swapaxes(attended, 1, 2)


def _best(plain: bool, v_BxTxHxd: jax.Array) -> str:
    """The implementation for the platform compiled for; plain: neither slopes nor dropout."""
    if mesh_lib.platform() == "cpu":
        return "xla"
    frames, _, width = v_BxTxHxd.shape[1:]
    fills = LANES % width == 0 or width % LANES == 0  # with so many heads side by side
    if mesh_lib.platform() == "tpu" and frames <= LONGEST and fills:
        return "pallas"
    if mesh_lib.platform() == "tpu" and plain:
        return "splash"
    if mesh_lib.platform() == "gpu" and plain and v_BxTxHxd.dtype == jnp.bfloat16:
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
    q_BxTxHxd: jax.Array,
    k_BxTxHxd: jax.Array,
    v_BxTxHxd: jax.Array,
    frame_mask_BxT: jax.Array,
) -> jax.Array:
    """The fused kernel of cuDNN, as jax.nn has it; padding goes in as lengths."""
    if mesh_lib.platform() != "gpu" or v_BxTxHxd.dtype != jnp.bfloat16:
        raise UserError(
            "config.model.attention=cudnn needs an NVIDIA GPU and model.compute_dtype=bfloat16;"
            f" found {mesh_lib.platform()} and {v_BxTxHxd.dtype}; choose auto"
        )
    # A row without frames must see something: no weights at all would be NaN.
    lengths = jnp.maximum(frame_mask_BxT.sum(-1), 1).astype(jnp.int32)
    return jax.nn.dot_product_attention(
        q_BxTxHxd, k_BxTxHxd, v_BxTxHxd, key_value_seq_lengths=lengths, implementation="cudnn"
    )


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

    _check_tpu("splash", interpret)
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

    on_each = _on_each_device(local, len(q), heads, "BH", "BH", "BH", "B")
    return on_each(q, k, v, segment)[:, :, :frames]


def pallas(
    q_BxTxHxd: jax.Array,
    k_BxTxHxd: jax.Array,
    v_BxTxHxd: jax.Array,
    frame_mask_BxT: jax.Array,
    *,
    slopes: np.ndarray | None = None,
    rate: float = 0.0,
    seed: jax.Array | None = None,
    interpret: Any = False,
) -> jax.Array:
    """The kernel of models/attention_kernel.py; `interpret` as in `splash`."""
    from uniwav_jax.models import attention_kernel  # a second to import

    _check_tpu("pallas", interpret)
    batch, frames, heads, width = q_BxTxHxd.shape
    if frames > LONGEST:
        raise UserError(
            f"config.model.attention=pallas takes rows of at most {LONGEST} frames, got {frames};"
            " choose auto or chunk, or cut the audio"
        )
    options = attention_kernel.Options(frames, width, heads, rate, slopes is not None, interpret)
    qkv = (a.reshape(batch, frames, -1) for a in (q_BxTxHxd, k_BxTxHxd, v_BxTxHxd))
    lengths_B = frame_mask_BxT.sum(-1, dtype=jnp.int32)
    slopes_H = jnp.zeros(heads) if slopes is None else jnp.asarray(slopes)
    seed = jnp.zeros(2, jnp.uint32) if seed is None else seed
    places = (jnp.arange(n, dtype=jnp.int32) for n in (batch, heads))

    def local(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        lengths_B: jax.Array,
        row_B: jax.Array,
        head_H: jax.Array,
        slopes_H: jax.Array,
        seed: jax.Array,
    ) -> jax.Array:
        seed = jax.lax.bitcast_convert_type(seed, jnp.int32)
        numbers = jnp.concatenate([seed, row_B[:1], head_H[:1], lengths_B])
        return attention_kernel.attention(options, numbers, slopes_H, q, k, v)

    on_each = _on_each_device(local, batch, heads, "BTH", "BTH", "BTH", "B", "B", "H", "H", "")
    return on_each(*qkv, lengths_B, *places, slopes_H, seed).reshape(q_BxTxHxd.shape)


def _on_each_device(
    local: Callable[..., jax.Array], batch: int, heads: int, *dimensions: str
) -> Callable[..., jax.Array]:
    """`local` on each device's rows and heads, since XLA cannot divide a kernel.

    Args:
        local: takes arrays and returns one of the dimensions of the first.
        batch, heads: how many there are, on all devices.
        dimensions: of each array: B for rows, H for heads (or heads times width), T for others.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return local
    axes = {
        "B": ("data", "fsdp") if batch % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else None,
        "H": "tensor" if heads % mesh.shape["tensor"] == 0 else None,
        "T": None,
    }
    specs = tuple(PartitionSpec(*(axes[name] for name in names)) for names in dimensions)
    return jax.shard_map(local, in_specs=specs, out_specs=specs[0], check_vma=False)


def _check_tpu(name: str, interpret: bool) -> None:
    if mesh_lib.platform() != "tpu" and not interpret:
        raise UserError(
            f"config.model.attention={name} needs a TPU, found {mesh_lib.platform()}; choose auto"
        )


def _divisor(frames: int, most: int) -> int:
    """Largest multiple of LANES that divides `frames` and is at most `most`."""
    return max(b for b in range(LANES, most + 1, LANES) if frames % b == 0)
