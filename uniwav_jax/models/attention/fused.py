"""Selects an implementation of attention for the platform, and wraps the fused kernels.

    "xla"     all queries at once; used on CPU
    "heads"   one head of a row after another, without dropout; used on CPU where the weights of
              all would fill its caches, in evaluation
    "chunk"   one block of queries after another, computed again in the backward pass
    "pallas"  our kernel for TPU (`tpu_kernel`), for rows of at most LONGEST frames
    "splash"  JAX's kernel for TPU, without ALiBi and dropout
    "cudnn"   cuDNN's kernel for GPU in bfloat16, without ALiBi and dropout

"auto" selects the first of "pallas", "splash" and "cudnn" that supports the arguments and the
platform that the program is compiled for; otherwise "chunk" on accelerators and "xla" on CPU.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from uniwav_jax.errors import UserError
from uniwav_jax.models import dropout
from uniwav_jax.models.attention import formula
from uniwav_jax.models.attention.formula import LANES
from uniwav_jax.parallel import mesh as mesh_lib

# Name of the result for `jax.checkpoint`; remat=attention saves it for the backward pass.
KEPT = "attention"
CACHED = 4_000_000  # attention weights that CPUs compute at once, at most
LONGEST = 4096  # frames: in "pallas" the weights of LANES queries of a row must fit on the chip


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
        q_BxTxHxd, k_BxTxHxd, v_BxTxHxd: any float dtype; d is the width of a head.
        frame_mask_BxT: bool, True on the real frames, which come before the padding.
        slopes: float32 [H] of symmetric ALiBi, or None.
        dropout_rate: share of attention weights that dropout sets to zero.
        dropout_key: random key; None switches dropout off.
        implementation: "auto" or a name from the module's docstring; "cudnn" and "splash" ignore
            slopes and dropout, so the configuration does not allow them together.

    Returns:
        [B, T, H, d] in the dtype of `v`.

    Raises:
        UserError: the implementation does not support this platform, dtype or number of frames.
    """
    rate = 0.0 if dropout_key is None else dropout_rate
    if implementation == "auto":
        plain = slopes is None and not rate
        implementation = _best(plain, v_BxTxHxd, evaluation=dropout_key is None)
    arrays = (q_BxTxHxd, k_BxTxHxd, v_BxTxHxd)
    if implementation == "cudnn":
        return cudnn(*arrays, frame_mask_BxT)
    seed = dropout.seed(dropout_key) if rate else None
    options = {"slopes": slopes, "rate": rate, "seed": seed}
    if implementation == "pallas":
        return pallas(*arrays, frame_mask_BxT, **options)
    by_heads = (jnp.swapaxes(a, 1, 2) for a in arrays)
    if implementation == "splash":
        attended = splash(*by_heads, frame_mask_BxT)
    elif implementation == "heads":
        on_each = _on_each_device(formula.heads, *q_BxTxHxd.shape[:3:2], "BH", "BH", "BH", "B", "H")
        attended = on_each(
            *by_heads, frame_mask_BxT, None if slopes is None else jnp.asarray(slopes)
        )
    else:
        function = {"xla": formula.rows, "chunk": formula.chunks}[implementation]
        attended = function(*by_heads, frame_mask_BxT, **options)
    return jnp.swapaxes(attended, 1, 2)


def _best(plain: bool, v_BxTxHxd: jax.Array, *, evaluation: bool) -> str:
    """Name of the fastest implementation on the platform that the program is compiled for.

    Args:
        plain: whether there are neither slopes nor dropout.
        v_BxTxHxd: the values, of which only dtype and shape are read.
        evaluation: whether no gradient is expected.
    """
    batch, frames, heads, width = v_BxTxHxd.shape
    if mesh_lib.platform() == "cpu":
        return "heads" if evaluation and batch * heads * frames**2 > CACHED else "xla"
    fills = LANES % width == 0 or width % LANES == 0  # whether whole heads fill whole registers
    if mesh_lib.platform() == "tpu" and frames <= LONGEST and fills:
        return "pallas"
    if mesh_lib.platform() == "tpu" and plain:
        return "splash"
    if mesh_lib.platform() == "gpu" and plain and v_BxTxHxd.dtype == jnp.bfloat16:
        return "cudnn"
    return "chunk"


def cudnn(
    q_BxTxHxd: jax.Array,
    k_BxTxHxd: jax.Array,
    v_BxTxHxd: jax.Array,
    frame_mask_BxT: jax.Array,
) -> jax.Array:
    """The cuDNN kernel through `jax.nn`, [B, T, H, d] to [B, T, H, d].

    The kernel receives the lengths of the rows instead of the mask.

    Raises:
        UserError: the platform is not a GPU, or the dtype is not bfloat16.
    """
    if mesh_lib.platform() != "gpu" or v_BxTxHxd.dtype != jnp.bfloat16:
        raise UserError(
            "config.model.attention=cudnn needs an NVIDIA GPU and model.compute_dtype=bfloat16;"
            f" found {mesh_lib.platform()} and {v_BxTxHxd.dtype}; choose auto"
        )
    # A row without real frames attends to its first frame, because a sum over no keys is NaN.
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
    """JAX's splash kernel for TPU, [B, H, T, d] to [B, H, T, d].

    `interpret` runs the kernel on any platform, slowly, for tests.

    Raises:
        UserError: the platform is not a TPU.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention  # takes a second to import

    _check_tpu("splash", interpret)
    heads, frames, width = q_BxHxTxd.shape[1:]
    padding = ((0, 0), (0, 0), (0, -frames % LANES), (0, 0))
    scaled = (q_BxHxTxd.astype(jnp.float32) / math.sqrt(width)).astype(q_BxHxTxd.dtype)
    q, k, v = (jnp.pad(a, padding) for a in (scaled, k_BxHxTxd, v_BxHxTxd))
    # Queries on padding attend to the real frames, as in the other implementations.
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
    """Our kernel for TPU (`tpu_kernel`), [B, T, H, d] to [B, T, H, d].

    Args:
        q_BxTxHxd, k_BxTxHxd, v_BxTxHxd, frame_mask_BxT: as for `attend`.
        slopes, rate, seed: as for `formula.rows`.
        interpret: run the kernel on any platform, slowly, for tests.

    Raises:
        UserError: the platform is not a TPU, or a row has more than LONGEST frames.
    """
    from uniwav_jax.models.attention import tpu_kernel  # takes a second to import

    _check_tpu("pallas", interpret)
    batch, frames, heads, width = q_BxTxHxd.shape
    if frames > LONGEST:
        raise UserError(
            f"config.model.attention=pallas needs rows of at most {LONGEST} frames, got {frames};"
            " choose auto or chunk, or cut the audio"
        )
    options = tpu_kernel.Options(frames, width, heads, rate, slopes is not None, interpret)
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
        return tpu_kernel.attention(options, numbers, slopes_H, q, k, v)

    on_each = _on_each_device(local, batch, heads, "BTH", "BTH", "BTH", "B", "B", "H", "H", "")
    return on_each(*qkv, lengths_B, *places, slopes_H, seed).reshape(q_BxTxHxd.shape)


def _on_each_device(
    local: Callable[..., jax.Array], batch: int, heads: int, *dimensions: str
) -> Callable[..., jax.Array]:
    """Wrap `local` to run on each device with that device's rows and heads.

    XLA itself cannot split a kernel over devices.

    Args:
        local: function of arrays; its result has the axes of its first argument.
        batch, heads: number of rows and of heads on all devices together.
        dimensions: one string per array with a letter per axis: B for rows, H for heads (or heads
            times width), T for an axis that is not split.
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
    """The largest multiple of LANES that divides `frames` and is at most `most`."""
    return max(b for b in range(LANES, most + 1, LANES) if frames % b == 0)
