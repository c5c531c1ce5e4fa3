"""Building blocks of encoder and decoder.

Parameters are float32. Matmuls run in `dtype`; norms, softmax and position angles are computed in
float32. Modules only define parameters; plain functions do the arithmetic.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from uniwav_jax.models.attention import KEPT, alibi_slopes, attend
from uniwav_jax.parallel import mesh as mesh_lib

ONE_ROW = 400_000  # values of a batch, at most, in which CPUs convolve shorter blocks


def dense(features: int | tuple[int, ...], *, dtype: jnp.dtype, name: str, **options) -> nn.Module:
    """Linear layer on the last axis, [..., D] -> [..., features], with its matmul in `dtype`."""
    options = {"kernel_init": nn.initializers.xavier_uniform(), **options}
    return nn.DenseGeneral(features, dtype=dtype, param_dtype=jnp.float32, name=name, **options)


def split_dense(
    x_BxTxD: jax.Array, kernel_DxNxE: jax.Array, bias_NxE: jax.Array
) -> tuple[jax.Array, ...]:
    """N linear layers whose kernels are one parameter: N arrays [B, T, E] in the dtype of `x`.

    N matmuls are faster than one wide matmul, because XLA would copy the slices of its result and
    the sum of their gradients.
    """
    kernel, bias = kernel_DxNxE.astype(x_BxTxD.dtype), bias_NxE.astype(x_BxTxD.dtype)
    return tuple(
        jnp.einsum("BTD,DE->BTE", x_BxTxD, kernel[:, n]) + bias[n] for n in range(len(bias))
    )


class Gate(nn.Module):
    """The two linear layers of a gated unit."""

    features: int

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> tuple[jax.Array, ...]:
        """Gate and value, [B, T, features] each, in the dtype of `x`."""
        init = nn.initializers.variance_scaling(
            1.0, "fan_avg", "uniform", in_axis=0, out_axis=(1, 2)
        )
        kernel = self.param("kernel", init, (x_BxTxD.shape[-1], 2, self.features))
        bias = self.param("bias", nn.initializers.zeros, (2, self.features))
        return split_dense(x_BxTxD, kernel, bias)


def plain_layer_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """LayerNorm over the last axis without affine, float32 in the shape of `x`."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)


@functools.partial(jax.checkpoint, prevent_cse=False)
def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU, x Phi(x), computed in float32; only x is saved for the backward pass.

    It uses erf. `jax.nn.gelu` uses erfc, which is also accurate for very negative x, but takes
    twice the time on CPU and, if fused into matmuls, minutes of TPU compilation.
    """
    h = x.astype(jnp.float32)
    return (0.5 * h * (1.0 + jax.lax.erf(np.sqrt(0.5, dtype=np.float32) * h))).astype(x.dtype)


class LayerNorm(nn.Module):
    """LayerNorm over the last axis with affine, computed in float32."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalised x in its shape, in `dtype`."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return (plain_layer_norm(x) * scale + bias).astype(self.dtype)


def rms_norm(x: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Root-mean-square norm over the last axis without affine, float32 in the shape of `x`."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon)


def rotate(x_BxTxHxd: jax.Array) -> jax.Array:
    """Apply rotary positions (RoFormer) to the whole width of each head, [B, T, H, d].

    Angles are float32; the result has the dtype of `x`.
    """
    frames, _, width = x_BxTxHxd.shape[1:]
    frequency = 10000.0 ** (-np.arange(width // 2, dtype=np.float32) / (width // 2))
    angle = np.arange(frames, dtype=np.float32)[:, None] * np.tile(frequency, 2)
    angle_Tx1xd = jnp.asarray(angle)[:, None]
    # (first half, second half) -> (-second, first) as a matmul, because slices of half a head are
    # too narrow for an accelerator.
    swap = np.roll(np.diag(np.repeat([1.0, -1.0], width // 2)), width // 2, axis=1)
    swapped = jnp.einsum("BTHd,de->BTHe", x_BxTxHxd, swap.astype(x_BxTxHxd.dtype))
    turned = x_BxTxHxd * jnp.cos(angle_Tx1xd) + swapped * jnp.sin(angle_Tx1xd)
    return turned.astype(x_BxTxHxd.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention; the projections to query, key and value are one parameter."""

    heads: int  # H
    positions: str  # "none", "rotary" or "alibi"
    attention_dropout: float  # share of the attention weights
    dtype: jnp.dtype
    implementation: str = "auto"  # as for `attention.attend`

    @nn.compact
    def __call__(
        self, x_BxTxD: jax.Array, frame_mask_BxT: jax.Array, *, key: jax.Array | None
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D] in `dtype`.

        Args:
            x_BxTxD: any float dtype.
            frame_mask_BxT: bool, True on real frames; the others are not attended to.
            key: random key of dropout; None for evaluation.
        """
        width = x_BxTxD.shape[-1]
        head_width = width // self.heads
        # Xavier initialisation of q, k and v as separate matrices, times the usual 1/sqrt(2).
        init = nn.initializers.variance_scaling(
            0.5, "fan_avg", "uniform", in_axis=0, out_axis=(2, 3), batch_axis=1
        )
        qkv = self.param("qkv_kernel", init, (width, 3, self.heads, head_width))
        qkv_bias = self.param("qkv_bias", nn.initializers.zeros, (3, self.heads, head_width))
        # Keep heads merged in the last axis; a separate axis of 64 wastes half of each 128-lane TPU
        # register.
        projected = split_dense(
            x_BxTxD.astype(self.dtype), qkv.reshape(width, 3, width), qkv_bias.reshape(3, width)
        )
        by_heads = (*x_BxTxD.shape[:2], self.heads, head_width)
        q, k, v = (a.reshape(by_heads) for a in projected)
        if self.positions == "rotary":
            q, k = rotate(q), rotate(k)
        attended = attend(
            q,
            k,
            v,
            frame_mask_BxT,
            slopes=alibi_slopes(self.heads) if self.positions == "alibi" else None,
            dropout_rate=self.attention_dropout,
            dropout_key=key,
            implementation=self.implementation,
        )
        attended = checkpoint_name(attended.reshape(x_BxTxD.shape), KEPT).reshape(by_heads)
        return dense(width, dtype=self.dtype, name="out", axis=(-2, -1))(attended)


def grouped_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """'Same' convolution over time, [B, T, D] to [B, T, D], in the platform's fastest form.

    On CPU it is one matmul per group. On TPU groups are merged until they fill the matrix unit;
    by the compiler's estimate this halves the cycles of this layer in the base model.

    Args:
        x_BxTxD: any float dtype.
        kernel: [k, D / groups, D] in the same dtype, k odd.
        groups: number of groups of channels.
    """
    forms = {"cpu": blocked_convolution, "tpu": merged_convolution}
    return forms.get(mesh_lib.platform(), native_convolution)(x_BxTxD, kernel, groups)


def native_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """`grouped_convolution` as XLA's own operation."""
    return jax.lax.conv_general_dilated(
        x_BxTxD,
        kernel,
        window_strides=(1,),
        padding="SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def merged_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """`grouped_convolution` with fewer, block-diagonal groups of at most 128 channels."""
    size, group_width, width = kernel.shape
    most = max(128 // group_width, 1)
    merged = max(m for m in range(1, most + 1) if groups % m == 0)
    taps = kernel.reshape(size, 1, group_width, groups // merged, merged, group_width)
    same = jnp.eye(merged, dtype=kernel.dtype)[:, None, None, :, None]
    kernel = (taps * same).reshape(size, merged * group_width, width)
    # Without barriers XLA fuses the convolution with its neighbours, which triples compile time and
    # needs more memory.
    x_BxTxD, kernel = jax.lax.optimization_barrier((x_BxTxD, kernel))
    return jax.lax.optimization_barrier(native_convolution(x_BxTxD, kernel, groups // merged))


def blocked_convolution(x_BxTxD: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """`grouped_convolution` as one matmul per group, from b + k - 1 input to b output frames.

    XLA's CPU backend runs grouped convolutions at a tenth of its matmul speed. b is 8. For a
    single row of speech such matrices take longer to fill than to use, so b is 2 there.
    """
    batch, frames, width = x_BxTxD.shape
    size, group_width = kernel.shape[:2]
    block = 8 if x_BxTxD.size > ONE_ROW else 2
    blocks, left, span = -(-frames // block), (size - 1) // 2, block + size - 1
    pieces = -(-span // block)  # blocks that one window spans
    right = (blocks + pieces - 1) * block - frames - left
    padded = jnp.pad(x_BxTxD, ((0, 0), (left, right), (0, 0)))
    by_group = padded.reshape(batch, -1, groups, group_width).transpose(2, 0, 1, 3)
    by_block = by_group.reshape(groups, batch, -1, block * group_width)
    windows = jnp.concatenate([by_block[:, :, i : i + blocks] for i in range(pieces)], axis=-1)
    windows = windows[..., : span * group_width].reshape(groups, batch * blocks, -1)
    # The matrix is block-Toeplitz: output frame v of a block reads k input frames from v on.
    taps = kernel.reshape(size * group_width, groups, group_width).transpose(1, 0, 2)
    shifted = [
        jnp.pad(taps, ((0, 0), (v * group_width, (block - 1 - v) * group_width), (0, 0)))
        for v in range(block)
    ]
    out = jnp.einsum("gnk,gko->gno", windows, jnp.concatenate(shifted, axis=-1))
    out = out.reshape(groups, batch, blocks * block, group_width).transpose(1, 2, 0, 3)
    return out.reshape(batch, blocks * block, width)[:, :frames]


def depthwise_convolution(x_BxTxD: jax.Array, kernel_kxD: jax.Array) -> jax.Array:
    """'Same' depthwise convolution over time as k shifted multiply-adds, k odd; [B, T, D]."""
    size, frames = kernel_kxD.shape[0], x_BxTxD.shape[1]
    padded = jnp.pad(x_BxTxD, ((0, 0), (size // 2, size // 2), (0, 0)))
    return sum(padded[:, i : i + frames] * kernel_kxD[i] for i in range(size))


class ConvolutionalPositions(nn.Module):
    """Stack of grouped convolutions, each followed by LayerNorm (no affine) and GELU.

    This is data2vec's positional encoder, as in DinoSR. Frames on padding are set to zero before
    every convolution, so that the amount of padding does not change a row's values.
    """

    depth: int  # number of convolutions
    kernel: int  # frames
    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, frame_mask_BxT: jax.Array) -> jax.Array:
        """The positions [B, T, D], in `dtype`, which the caller adds to x.

        Args:
            x_BxTxD: any float dtype.
            frame_mask_BxT: bool, True on real frames.
        """
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
            x_BxTxD = gelu(x_BxTxD).astype(self.dtype)
        return x_BxTxD


def remat(body: type[nn.Module], policy: str) -> type[nn.Module]:
    """Wrap a scanned layer so that the backward pass computes its activations again.

    Args:
        body: class of the layer.
        policy: the activations that are saved: "none" means all (no wrapping), "full" only the
            layer's input, "attention" also the result of attention, "dots" also the results of
            matmuls.
    """
    if policy == "none":
        return body
    saved = {
        "full": None,
        "attention": jax.checkpoint_policies.save_only_these_names(KEPT),
        "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    }[policy]
    return nn.remat(body, prevent_cse=False, policy=saved)
