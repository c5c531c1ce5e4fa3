"""Building blocks of both networks.

Numerics: parameters are float32; matmuls run in `dtype`; norms, softmax and position angles are
float32. Modules are thin: the arithmetic is in plain functions.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec

NEGATIVE = -1e9  # stands for -inf in attention logits: a fully padded row stays finite


def dense(features: int | tuple[int, ...], *, dtype: jnp.dtype, name: str, **options) -> nn.Module:
    """Linear layer on the last axis with float32 parameters and matmul in `dtype`."""
    options = {"kernel_init": nn.initializers.xavier_uniform(), **options}
    return nn.DenseGeneral(features, dtype=dtype, param_dtype=jnp.float32, name=name, **options)


def shard_rows(x: jax.Array) -> jax.Array:
    """Keep a batch-first array split by rows over the mesh in use (`jax.set_mesh`), if any.

    Without this XLA may split activations by width next to weights that FSDP splits by width.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(("data", "fsdp")))


def plain_layer_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """LayerNorm over the last axis without affine, computed and returned in float32."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)


class LayerNorm(nn.Module):
    """LayerNorm with affine; float32 inside, result in `dtype`."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return (plain_layer_norm(x) * scale + bias).astype(self.dtype)


def rms_norm(x: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Root-mean-square norm over the last axis without affine, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; `key` None means evaluation."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0).astype(x.dtype)


def rotate(x_BxTxHxd: jax.Array) -> jax.Array:
    """Rotary positions (RoFormer) over the whole head width, angles in float32."""
    frames, half = x_BxTxHxd.shape[1], x_BxTxHxd.shape[-1] // 2
    frequency = 10000.0 ** (-np.arange(half, dtype=np.float32) / half)
    angle = jnp.asarray(np.arange(frames, dtype=np.float32)[:, None, None] * frequency)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_BxTxHxd.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x_BxTxHxd.dtype)


def alibi_bias(frames: int, heads: int) -> jax.Array:
    """Symmetric ALiBi, -slope_h |i - j|, float32 [1, H, T, T]; slopes 2^(-8h/H), h = 1..H."""
    slopes = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
    position = np.arange(frames)
    distance = np.abs(position[:, None] - position[None])
    return jnp.asarray(-slopes[None, :, None, None] * distance, jnp.float32)


def attend(
    q_BxTxHxd: jax.Array,
    k_BxTxHxd: jax.Array,
    v_BxTxHxd: jax.Array,
    frame_mask_BxT: jax.Array,
    *,
    bias: jax.Array | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Bidirectional scaled dot-product attention; keys on padding are hidden; softmax in float32.

    Args:
        q_BxTxHxd, k_BxTxHxd, v_BxTxHxd: any float dtype.
        frame_mask_BxT: bool, True on real frames.
        bias: float32, broadcastable to [B, H, T, T], added to the logits.
        dropout_rate: share of attention weights dropped when `dropout_key` is given.

    Returns:
        [B, T, H, d] in the dtype of `v`.
    """
    logits = jnp.einsum("BTHd,BSHd->BHTS", q_BxTxHxd, k_BxTxHxd).astype(jnp.float32)
    logits = logits / math.sqrt(q_BxTxHxd.shape[-1])
    if bias is not None:
        logits = logits + bias
    logits = jnp.where(frame_mask_BxT[:, None, None, :], logits, NEGATIVE)
    weights = jax.nn.softmax(logits, axis=-1)
    weights = dropout(weights, dropout_rate, dropout_key).astype(v_BxTxHxd.dtype)
    return jnp.einsum("BHTS,BSHd->BTHd", weights, v_BxTxHxd)


class SelfAttention(nn.Module):
    """Multi-head self-attention with fused query, key and value projections."""

    heads: int
    positions: str  # "none", "rotary" or "alibi"
    attention_dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BxTxD: jax.Array, frame_mask_BxT: jax.Array, *, key: jax.Array | None
    ) -> jax.Array:
        _, frames, width = x_BxTxD.shape
        head_width = width // self.heads
        # Xavier for each of q, k and v as one matrix, times 1/sqrt(2) as usual for these three.
        init = nn.initializers.variance_scaling(
            0.5, "fan_avg", "uniform", in_axis=0, out_axis=(2, 3), batch_axis=1
        )
        qkv = self.param("qkv_kernel", init, (width, 3, self.heads, head_width))
        qkv_bias = self.param("qkv_bias", nn.initializers.zeros, (3, self.heads, head_width))
        projected = jnp.einsum("BTD,DcHd->cBTHd", x_BxTxD, qkv.astype(self.dtype))
        q, k, v = projected + qkv_bias[:, None, None].astype(self.dtype)
        if self.positions == "rotary":
            q, k = rotate(q), rotate(k)
        bias = alibi_bias(frames, self.heads) if self.positions == "alibi" else None
        attended = attend(
            q,
            k,
            v,
            frame_mask_BxT,
            bias=bias,
            dropout_rate=self.attention_dropout,
            dropout_key=key,
        )
        return dense(width, dtype=self.dtype, name="out", axis=(-2, -1))(attended)


def grouped_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """'Same' convolution over time; `kernel` is [k, D / groups, D], k odd.

    XLA's CPU backend runs grouped convolutions at a tenth of its matmul speed, so there it is
    `blocked_convolution`.
    """
    native = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1,),
        padding="SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )
    blocked = functools.partial(blocked_convolution, groups=groups)
    return jax.lax.platform_dependent(x_BxTxD, kernel, cpu=blocked, default=native)


def blocked_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """`grouped_convolution` as matmuls.

    The kernel is laid out as a block-Toeplitz matrix: n output frames from their n + k - 1 inputs.
    """
    batch, frames, width = x_BxTxD.shape
    size = kernel.shape[0]
    block, group_width = max(size - 1, 8), width // groups
    blocks, left = -(-frames // block), (size - 1) // 2
    padded = jnp.pad(x_BxTxD, ((0, 0), (left, (blocks + 1) * block - frames - left), (0, 0)))
    padded = padded.reshape(batch, blocks + 1, block, groups, group_width)
    windows = jnp.concatenate([padded[:, :-1], padded[:, 1:, : size - 1]], axis=2)
    tap = np.arange(block + size - 1)[:, None] - np.arange(block)[None]  # [input, output]
    taps = kernel.reshape(size, group_width, groups, group_width)
    taps = jnp.pad(taps, ((0, 1), (0, 0), (0, 0), (0, 0)))  # index `size` is the zero tap
    toeplitz = taps[np.where((tap >= 0) & (tap < size), tap, size)]
    out = jnp.einsum("bmugi,uvigo->bmvgo", windows, toeplitz)
    return out.reshape(batch, blocks * block, width)[:, :frames]


def depthwise_convolution(x_BxTxD: jax.Array, kernel_kxD: jax.Array) -> jax.Array:
    """'Same' depthwise convolution over time as k shifted multiply-adds, k odd."""
    size, frames = kernel_kxD.shape[0], x_BxTxD.shape[1]
    padded = jnp.pad(x_BxTxD, ((0, 0), (size // 2, size // 2), (0, 0)))
    return sum(padded[:, i : i + frames] * kernel_kxD[i] for i in range(size))


class ConvolutionalPositions(nn.Module):
    """Stack of grouped convolutions, each LayerNorm (no affine) + GELU; returns what to add to x.

    data2vec's positional encoder, as in DinoSR. Padded frames are zeroed before every convolution,
    so that a row gives the same values whatever its padding.
    """

    depth: int
    kernel: int
    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, frame_mask_BxT: jax.Array) -> jax.Array:
        width = x_BxTxD.shape[-1]
        for i in range(self.depth):
            kernel = self.param(
                f"kernel_{i}",
                nn.initializers.lecun_normal(),
                (self.kernel, width // self.groups, width),
            )
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (width,))
            x_BxTxD = jnp.where(frame_mask_BxT[..., None], x_BxTxD, 0)
            x_BxTxD = grouped_convolution(
                x_BxTxD.astype(self.dtype), kernel.astype(self.dtype), self.groups
            )
            x_BxTxD = plain_layer_norm(x_BxTxD + bias)
            x_BxTxD = jax.nn.gelu(x_BxTxD, approximate=False).astype(self.dtype)
        return x_BxTxD


def remat(body: type[nn.Module], policy: str) -> type[nn.Module]:
    """Wrap a scanned layer so that its activations are recomputed in the backward pass."""
    if policy == "none":
        return body
    saved = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}[policy]
    return nn.remat(body, prevent_cse=False, policy=saved)
