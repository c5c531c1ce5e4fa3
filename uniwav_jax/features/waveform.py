"""The waveform itself as features, for training a codec: one channel, one frame per sample."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.types import PyTree


class Waveform:
    """Samples in [-1, 1], not normalised; implements `surface.SurfaceFeatures`."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.sample_rate, self.hop, self.channels = config.sample_rate, 1, 1
        self.frame_rate = float(config.sample_rate)
        self.weights: PyTree = {}
        self.context = (0, 0)
        self.scale = np.ones(1, np.float32)
        self.described = None
        self._mel = LogMel(config)

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Samples, float32 [B, S, 1]."""
        del params
        if audio_BxS.dtype == jnp.int16:
            audio_BxS = audio_BxS.astype(jnp.float32) / 32768.0
        return audio_BxS[..., None]

    def encode(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Samples, float32 [B, S, 1], as `raw`."""
        return self.raw(params, audio_BxS)

    def decode(self, params: PyTree, x_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, S] in [-1, 1]."""
        del params
        return jnp.clip(x_BxTxC[..., 0], -1.0, 1.0)

    def output_length(self, samples: int | jax.Array) -> int | jax.Array:
        """`samples`, because each sample is a frame."""
        return samples

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """A log-mel spectrogram, float32 [frames, bands]."""
        return self._mel.raw({}, x_TxC[None, :, 0])[0]
