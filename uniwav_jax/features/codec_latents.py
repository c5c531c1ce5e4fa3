"""Continuous latents of a frozen neural codec, and its decoder (paper, section 3).

    waveform with context [B, left + S + right] -> codec encoder -> [B, ceil(S / hop), C]
        -> (x - mean) / std

Silence surrounds each clip, and a crop is read with the audio around it (`context`). A row's frames
are therefore the same whether the clip is encoded alone, padded in a batch, cut from a longer clip,
or read from extracted latents. If the codec has an LSTM, crops differ slightly, because the LSTM
reads only `MEMORY` seconds of the audio before them.
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

MEMORY = 1.0  # seconds of audio before a crop that an LSTM reads; our choice


class CodecFeatures:
    """Latents of a codec; implements `surface.SurfaceFeatures`.

    Args:
        config: configuration of the features.
        described: `described` from a checkpoint. `weights` are then zeros of the right shapes, to
            be replaced by the checkpoint's. None: read the codec in the folder `config.codec`.

    Raises:
        UserError: the folder has no codec, or its rates are not those of `config`.
    """

    def __init__(self, config: FeaturesConfig, described: dict[str, Any] | None = None) -> None:
        if described is None:
            codec, params = files.load(config.codec)
            described = {**files.describe(codec), "digest": files.digest(config.codec)}
        else:
            codec = files.from_description(described)
            shapes = files.parameters(codec)
            params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        self.config, self.described = codec, described
        for name, needed in (("sample_rate", codec.sample_rate), ("hop", codec.hop)):
            if getattr(config, name) != needed:
                raise UserError(
                    f"config.features.{name} is {getattr(config, name)}, but the codec in"
                    f" {config.codec} has {needed}; set --config.features.{name}={needed}"
                )
        self.sample_rate, self.hop = codec.sample_rate, codec.hop
        self.frame_rate = codec.sample_rate / codec.hop
        self.channels = codec.dimension
        self.scale = np.asarray(codec.scale, np.float32)
        self.weights = {"network": params["network"]}
        parts = chain(codec, "encoder")
        left, right, *_ = chunked.reach(parts)
        if chunked.has_memory(parts):
            left += round(MEMORY * self.frame_rate) * codec.hop
        self.context = (left, right + codec.hop - 1)  # the last frame may be partly filled
        self._network = Codec(codec)

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Latents before normalisation, float32 [B, T, C], of audio with its context."""
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
        """Waveform by the codec's decoder, float32 [B, T * hop] in [-1, 1].

        Raises:
            UserError: the codec has no decoder.
        """
        if isinstance(self.config, FrontEndConfig):
            raise UserError(
                "a convolutional front end has no decoder, so no audio can be generated from"
                " these features; set --config.flow.weight=0 --config.evaluate.sample_every=0"
            )
        z_BxTxC = x_BxTxC.astype(jnp.float32) * params["std"] + params["mean"]
        audio = self._network.apply({"params": params["network"]}, z_BxTxC, method="decode")
        return jnp.clip(audio, -1.0, 1.0)

    def output_length(self, samples: int | jax.Array) -> int | jax.Array:
        """Frames of `samples` samples: ceil(samples / hop)."""
        return -(-samples // self.hop)

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """The latents themselves."""
        return x_TxC
