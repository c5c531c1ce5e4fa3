"""The Transformer encoder: the network of student and teacher, whose states other tasks read.

x [B, T, C] -> LayerNorm -> Linear -> masked frames replaced -> + convolutional positions
    [B, T, D] -> L layers -> (pre-norm only) final LayerNorm
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from uniwav_jax.config import EncoderConfig
from uniwav_jax.models import layers
from uniwav_jax.models.dropout import dropout
from uniwav_jax.parallel.mesh import shard_rows


@struct.dataclass
class EncoderOutput:
    """States of all layers, in the compute dtype.

    Attributes:
        embedding: [B, T, D], input of the first layer (h_0).
        states: [L, B, T, D], residual stream after each layer (h_1 .. h_L).
        feed_forward: [L, B, T, D], each layer's feed-forward output before the residual sum and
            before dropout; the teacher's are the targets of self-distillation.
        final: [B, T, D], the last state, after the final LayerNorm if the layers are pre-norm.
    """

    embedding: jax.Array
    states: jax.Array
    feed_forward: jax.Array
    final: jax.Array


class EncoderLayer(nn.Module):
    """One Transformer layer, pre- or post-norm; scanned over depth."""

    config: EncoderConfig
    dtype: jnp.dtype  # of matmuls and states
    attention: str  # implementation, see `attention.fused`

    @nn.compact
    def __call__(
        self, x_BxTxD: jax.Array, key: jax.Array | None, frame_mask_BxT: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """The next state, and (the next state, the feed-forward output), all [B, T, D].

        Args:
            x_BxTxD: state before the layer, in `dtype`.
            key: random key of dropout and layer drop; None for evaluation.
            frame_mask_BxT: bool, True on real frames.
        """
        c = self.config
        # One key per purpose; None (evaluation) switches all dropout off.
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        norm_attention = layers.LayerNorm(self.dtype, name="norm_attention")
        norm_feed_forward = layers.LayerNorm(self.dtype, name="norm_feed_forward")
        attention = layers.SelfAttention(
            c.heads, "none", c.attention_dropout, self.dtype, self.attention, name="attention"
        )
        up = layers.dense(c.ffn, dtype=self.dtype, name="up")
        down = layers.dense(x_BxTxD.shape[-1], dtype=self.dtype, name="down")

        def feed_forward(x: jax.Array) -> jax.Array:
            # This dropout is newer than the others; fold_in leaves their four keys unchanged.
            inner_key = None if key is None else jax.random.fold_in(key, len(keys))
            return down(dropout(layers.gelu(up(x)), c.activation_dropout, inner_key))

        if c.norm == "pre":
            attended = attention(norm_attention(x_BxTxD), frame_mask_BxT, key=keys[0])
            h = x_BxTxD + dropout(attended, c.dropout, keys[1])
            target = feed_forward(norm_feed_forward(h))
            h = h + dropout(target, c.dropout, keys[2])
        else:
            attended = attention(x_BxTxD, frame_mask_BxT, key=keys[0])
            h = norm_attention(x_BxTxD + dropout(attended, c.dropout, keys[1]))
            target = feed_forward(h)
            h = norm_feed_forward(h + dropout(target, c.dropout, keys[2]))
        if key is not None and c.layer_drop > 0:
            h = jnp.where(jax.random.bernoulli(keys[3], c.layer_drop), x_BxTxD, h)
        h = shard_rows(h)
        return h, (h, target)


class Encoder(nn.Module):
    """Surface features to contextual states; the module's docstring lists the stages."""

    config: EncoderConfig
    dtype: jnp.dtype  # of matmuls and states
    remat: str = "none"  # policy, see `layers.remat`
    attention: str = "auto"  # implementation, see `attention.fused`

    @nn.compact
    def __call__(
        self,
        x_BxTxC: jax.Array,
        frame_mask_BxT: jax.Array,
        *,
        span_mask_BxT: jax.Array | None = None,
        channel_mask_BxD: jax.Array | None = None,
        added_BxTxD: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> EncoderOutput:
        """Encode a batch.

        Args:
            x_BxTxC: normalised surface features, float32.
            frame_mask_BxT: bool, True on real frames.
            span_mask_BxT: bool, True where the learned mask vector replaces the frame.
            channel_mask_BxD: bool, True where a channel of the projected input is set to zero.
            added_BxTxD: embeddings of phones, which are added to the projected input.
            key: random key of dropout and layer drop; None for evaluation.
        """
        c = self.config
        mask_vector = self.param("mask_vector", nn.initializers.normal(1.0), (c.width,))
        h = layers.LayerNorm(self.dtype, name="norm_input")(x_BxTxC)
        h = layers.dense(c.width, dtype=self.dtype, name="project")(h)
        if span_mask_BxT is not None:
            h = jnp.where(span_mask_BxT[..., None], mask_vector.astype(self.dtype), h)
        if channel_mask_BxD is not None:
            h = jnp.where(channel_mask_BxD[:, None], 0.0, h).astype(self.dtype)
        if added_BxTxD is not None:
            h = h + added_BxTxD.astype(self.dtype)
        h = h + layers.ConvolutionalPositions(
            c.position_convolutions,
            c.position_kernel,
            c.position_groups,
            self.dtype,
            name="positions",
        )(h, frame_mask_BxT)
        if c.norm == "post":
            h = layers.LayerNorm(self.dtype, name="norm_embedding")(h)
        layer_keys = None
        if key is not None:
            key, embedding_key = jax.random.split(key)
            h = dropout(h, c.dropout, embedding_key)
            layer_keys = jax.random.split(key, c.layers)

        stack = nn.scan(
            layers.remat(EncoderLayer, self.remat),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            length=c.layers,
        )(c, self.dtype, self.attention, name="layers")
        last, (states, feed_forward) = stack(h, layer_keys, frame_mask_BxT)
        final = last
        if c.norm == "pre":
            final = layers.LayerNorm(self.dtype, name="norm_final")(last)
        return EncoderOutput(embedding=h, states=states, feed_forward=feed_forward, final=final)
