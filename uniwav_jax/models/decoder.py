"""The Flow Matching decoder: the velocity v(x_t, t, z).

concat(x_t, z[, context]) -> Linear [B, T, D] -> + depthwise convolution (GELU)
    -> L layers with adaptive RMSNorm, rotary or ALiBi attention, GEGLU, U-Net skips
    -> RMSNorm -> Linear to C, initialised with zeros
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from uniwav_jax.config import DecoderConfig
from uniwav_jax.models import layers
from uniwav_jax.models.dropout import dropout
from uniwav_jax.parallel.mesh import shard_rows


def time_embedding(t_B: jax.Array, width: int) -> jax.Array:
    """Sinusoids of the flow time, float32 [B, width]; t in [0, 1] is scaled by 1000."""
    half = width // 2
    frequency = np.exp(-math.log(10000.0) * np.arange(half, dtype=np.float32) / half)
    angle = 1000.0 * t_B[:, None].astype(jnp.float32) * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class DecoderLayer(nn.Module):
    """Transformer layer whose norms are scaled and shifted by the flow time; scanned over depth.

    In the second half of the U-Net the state is first merged with a skip input.
    """

    config: DecoderConfig
    dtype: jnp.dtype  # of matmuls
    attention: str  # implementation, see `attention.fused`

    @nn.compact
    def __call__(
        self,
        x_BxTxD: jax.Array,
        skip_BxTxD: jax.Array | None,
        key: jax.Array | None,
        time_BxD: jax.Array,
        frame_mask_BxT: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """The next state, and the layer's input, which is a skip input if in the first half.

        Args:
            x_BxTxD: state before the layer, in `dtype`.
            skip_BxTxD: the skip input in the second half of the U-Net, None in the first.
            key: random key of dropout; None for evaluation.
            time_BxD: embedding of the flow time, float32.
            frame_mask_BxT: bool, True on real frames.
        """
        c, entered_BxTxD = self.config, x_BxTxD
        keys = [None] * 2 if key is None else list(jax.random.split(key))
        width = x_BxTxD.shape[-1]
        if skip_BxTxD is not None:
            merged = jnp.concatenate([x_BxTxD, skip_BxTxD * 2.0**-0.5], axis=-1)
            x_BxTxD = layers.dense(width, dtype=self.dtype, name="merge")(merged)
        modulation = layers.dense(
            (4, width), dtype=jnp.float32, name="modulation", kernel_init=nn.initializers.zeros
        )(time_BxD)[:, :, None]
        scale_attention, shift_attention, scale_ffn, shift_ffn = jnp.moveaxis(modulation, 1, 0)

        h = layers.rms_norm(x_BxTxD) * (1 + scale_attention) + shift_attention
        attended = layers.SelfAttention(
            c.heads, c.positions, 0.0, self.dtype, self.attention, name="attention"
        )(h.astype(self.dtype), frame_mask_BxT, key=None)
        x_BxTxD = x_BxTxD + dropout(attended, c.dropout, keys[0])

        h = (layers.rms_norm(x_BxTxD) * (1 + scale_ffn) + shift_ffn).astype(self.dtype)
        gate, value = layers.Gate(c.ffn, name="up")(h)
        h = layers.gelu(gate) * value
        h = layers.dense(width, dtype=self.dtype, name="down")(h)
        x_BxTxD = shard_rows(x_BxTxD + dropout(h, c.dropout, keys[1]))
        return x_BxTxD, entered_BxTxD


class Decoder(nn.Module):
    """Velocity field of the probability path; the module's docstring lists the stages."""

    config: DecoderConfig
    channels: int  # C
    dtype: jnp.dtype  # of matmuls
    remat: str = "none"  # policy, see `layers.remat`
    attention: str = "auto"  # implementation, see `attention.fused`

    @nn.compact
    def __call__(
        self,
        x_BxTxC: jax.Array,
        t_B: jax.Array,
        z_BxTxD: jax.Array,
        frame_mask_BxT: jax.Array,
        *,
        context_BxTxC: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Velocity at flow time t.

        Args:
            x_BxTxC: the point x_t on the path, float32.
            t_B: flow time in [0, 1], float32.
            z_BxTxD: conditioning of the decoder's width, any float dtype.
            frame_mask_BxT: bool, True on real frames.
            context_BxTxC: surface features, zero on hidden frames; only with `flow.context`.
            key: random key of dropout; None for evaluation.

        Returns:
            float32 [B, T, C].
        """
        c = self.config
        parts = [x_BxTxC, z_BxTxD] if context_BxTxC is None else [x_BxTxC, z_BxTxD, context_BxTxC]
        h = jnp.concatenate([part.astype(self.dtype) for part in parts], axis=-1)
        h = layers.dense(c.width, dtype=self.dtype, name="project")(h)
        kernel = self.param(
            "position_kernel",
            nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=()),
            (c.position_kernel, c.width),
        ).astype(self.dtype)
        bias = self.param("position_bias", nn.initializers.zeros, (c.width,)).astype(self.dtype)
        h = jnp.where(frame_mask_BxT[..., None], h, 0)
        h = h + layers.gelu(layers.depthwise_convolution(h, kernel) + bias)

        time = layers.dense(c.width, dtype=jnp.float32, name="time_in")(
            time_embedding(t_B, c.width)
        )
        time = layers.dense(c.width, dtype=jnp.float32, name="time_out")(jax.nn.silu(time))
        time = jax.nn.silu(time)

        half = c.layers // 2
        keys = (None, None)
        if key is not None:
            keys = jax.random.split(key, (2, half))
        body = layers.remat(DecoderLayer, self.remat)

        def stack(name: str) -> nn.Module:
            return nn.scan(
                body,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(0, 0, nn.broadcast, nn.broadcast),
                length=half,
            )(c, self.dtype, self.attention, name=name)

        h, skips = stack("layers_in")(h, None, keys[0], time, frame_mask_BxT)
        # Layer L + 1 - i merges the input of layer i, so the last skip is used first and the
        # embedding last. (If skips were the layers' outputs, the first merge would get two copies
        # of the same state.)
        h, _ = stack("layers_out")(h, skips[::-1], keys[1], time, frame_mask_BxT)
        scale = self.param("norm_scale", nn.initializers.ones, (c.width,))
        h = (layers.rms_norm(h) * scale).astype(self.dtype)
        h = layers.dense(
            self.channels, dtype=self.dtype, name="out", kernel_init=nn.initializers.zeros
        )(h)
        return h.astype(jnp.float32)
