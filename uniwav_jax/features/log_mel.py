"""Log-mel spectrograms, and waveforms from them.

    waveform [B, S] -> short-time Fourier transform -> magnitudes [B, T, F] -> mel [B, T, C]
        -> natural logarithm -> (x - mean) / std

Frame i is centred at (i + 1/2) hop, so that ceil(S / hop) frames cover S samples, and padding a row
with zeros does not change its frames. Decoding inverts the mel filters by their pseudo-inverse and
finds phases by the Griffin-Lim algorithm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.audio import stft
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.types import PyTree

# We chose the values that have no source.
FLOOR = 1e-3  # smallest mel magnitude, about the noise floor of int16
GRIFFIN_LIM_STEPS = 48
# Singular values of the filters below this share of the largest count as zero. They belong to
# differences between bands that share bins, which are dominated by noise.
SINGULAR = 0.05
MOMENTUM = 0.99  # fast Griffin-Lim (Perraudin et al., 2013)


class LogMel:
    """Log-mel spectrograms; implements `surface.SurfaceFeatures`."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.sample_rate, self.hop = config.sample_rate, config.hop
        self.frame_rate = config.sample_rate / config.hop
        self.channels = config.mel_bands
        self.weights: PyTree = {}
        self.context = (0, 0)
        self.scale = np.ones(1, np.float32)
        self.described = None
        self.window = config.window
        self.filters = stft.mel_filters(
            config.mel_bands, config.window, config.sample_rate, config.mel_low, config.mel_high
        )
        self._hann = stft.hann(config.window)

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Natural logarithm of mel magnitudes, float32 [B, ceil(S / hop), C]."""
        del params
        if audio_BxS.dtype == jnp.int16:
            audio_BxS = audio_BxS.astype(jnp.float32) / 32768.0
        magnitude = jnp.abs(self._transform(audio_BxS.astype(jnp.float32)))
        mel = jnp.einsum("btf,fc->btc", magnitude, self.filters, precision="highest")
        return jnp.log(jnp.maximum(mel, FLOOR))

    def encode(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Normalised log-mel, float32 [B, ceil(S / hop), C]."""
        return (self.raw(params, audio_BxS) - params["mean"]) / params["std"]

    def decode(self, params: PyTree, x_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, T * hop] in [-1, 1], by the fast Griffin-Lim algorithm."""
        mel = jnp.exp(x_BxTxC.astype(jnp.float32) * params["std"] + params["mean"])
        inverse_CxF = np.linalg.pinv(self.filters, rcond=SINGULAR).astype(np.float32)
        magnitude = jnp.maximum(jnp.einsum("btc,cf->btf", mel, inverse_CxF), 0.0)
        samples = x_BxTxC.shape[1] * self.hop
        # The phases start at random; the key is fixed so that decoding is repeatable.
        angle = jax.random.uniform(jax.random.key(0), magnitude.shape) * (2 * np.pi)

        def refine(_: int, carry: tuple) -> tuple:
            phases, before = carry
            now = self._transform(self._inverse(magnitude * phases, samples))
            moved = now + MOMENTUM * (now - before)
            return moved / jnp.maximum(jnp.abs(moved), 1e-8), now

        start = (jnp.exp(1j * angle), jnp.zeros_like(magnitude, jnp.complex64))
        phases, _ = jax.lax.fori_loop(0, GRIFFIN_LIM_STEPS, refine, start)
        return jnp.clip(self._inverse(magnitude * phases, samples), -1.0, 1.0)

    def output_length(self, samples: int | jax.Array) -> int | jax.Array:
        """Frames of `samples` samples: ceil(samples / hop)."""
        return -(-samples // self.hop)

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """The log-mel frames themselves."""
        return x_TxC

    def _transform(self, audio_BxS: jax.Array) -> jax.Array:
        """Short-time Fourier transform with centred frames, complex64 [B, T, F]."""
        frames = self.output_length(audio_BxS.shape[1])
        left = (self.window - self.hop) // 2
        right = (frames - 1) * self.hop + self.window - left - audio_BxS.shape[1]
        padded = jnp.pad(audio_BxS, ((0, 0), (left, right)))
        return stft.transform(padded, self._hann, self.hop)

    def _inverse(self, spectrum_BxTxF: jax.Array, samples: int) -> jax.Array:
        """Inverse of `_transform`: waveform, float32 [B, samples]."""
        left = (self.window - self.hop) // 2
        wave = stft.inverse(spectrum_BxTxF, self._hann, self.hop)
        return wave[:, left : left + samples]
