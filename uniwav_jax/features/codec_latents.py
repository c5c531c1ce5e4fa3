"""Continuous latents of a frozen neural codec, and its decoder (paper, section 3).

    waveform with context [B, left + S + right] -> codec encoder -> [B, ceil(S / hop), C]
        -> (x - mean) / std

A clip counts as surrounded by silence, and a crop is read with the audio around it (`context`): so
a row's frames are the same alone, padded in a batch, cut from a longer clip, or taken from latents
that 'uniwav data latents' wrote. Where the codec has an LSTM, `MEMORY` bounds how far its past
reaches, and the last of these holds nearly.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.codec import chunked, files
from uniwav_jax.codec.config import FrontEndConfig
from uniwav_jax.codec.network import Codec, chain
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

MEMORY = 1.0  # seconds of past that an LSTM is given; ours


class CodecFeatures:
    """Latents of a codec; see `surface.SurfaceFeatures`.

    Args:
        config: of the features.
        described: `files.describe` of the codec, whose weights the caller has; None: the codec in
            the folder `config.codec`.
    """

    def __init__(self, config: FeaturesConfig, described: dict[str, Any] | None = None) -> None:
        if described is None:
            codec, params = files.load(config.codec)
        else:
            codec = files.from_description(described)
            shapes = files.parameters(codec)
            params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        self.config = codec
        for name, needed in (("sample_rate", codec.sample_rate), ("hop", codec.hop)):
            if getattr(config, name) != needed:
                raise UserError(
                    f"config.features.{name} is {getattr(config, name)}, the codec in"
                    f" {config.codec} has {needed}; set --config.features.{name}={needed}"
                )
        self.sample_rate, self.hop = codec.sample_rate, codec.hop
        self.frame_rate = codec.sample_rate / codec.hop
        self.channels = codec.dimension
        self.weights = {"network": params["network"]}
        parts = chain(codec, "encoder")
        left, right, *_ = chunked.reach(parts)
        if chunked.has_memory(parts):
            left += round(MEMORY * self.frame_rate) * codec.hop
        self.context = (left, right + codec.hop - 1)  # the last frame may be partly filled
        self._network = Codec(codec)

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Latents as the codec gives them, float32 [B, T, C], of audio with its context."""
        if audio_BxS.dtype == jnp.int16:
            audio_BxS = audio_BxS.astype(jnp.float32) / 32768.0
        left = self.context[0] // self.hop
        frames = self.output_length(audio_BxS.shape[1] - sum(self.context))
        z_BxTxC = self._network.apply({"params": params["network"]}, audio_BxS, method="encode")
        return z_BxTxC[:, left : left + frames]

    def encode(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Normalised latents, float32 [B, T, C], of audio with its context."""
        return (self.raw(params, audio_BxS) - params["mean"]) / params["std"]

    def decode(self, params: PyTree, x_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, T * hop] in [-1, 1], by the codec's decoder."""
        if isinstance(self.config, FrontEndConfig):
            raise UserError(
                "a convolutional front end leads to no waveform: nothing can be generated with"
                " these features; set --config.flow.weight=0 --config.evaluate.sample_every=0"
            )
        z_BxTxC = x_BxTxC.astype(jnp.float32) * params["std"] + params["mean"]
        audio = self._network.apply({"params": params["network"]}, z_BxTxC, method="decode")
        return jnp.clip(audio, -1.0, 1.0)

    def output_length(self, samples: int | jax.Array) -> int | jax.Array:
        """Frames of `samples` samples: ceil(samples / hop)."""
        return -(-samples // self.hop)

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """The frames as they are."""
        return x_TxC
