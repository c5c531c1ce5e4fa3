"""Log-mel spectrogram and back.

    waveform [B, S] -> frames of `window` samples, one per `hop`, centred on their hop
        -> |DFT| [B, T, window/2 + 1] -> mel [B, T, C] -> log -> (x - mean) / std

Frame i is centred at (i + 1/2) hop, so that ceil(S / hop) frames cover S samples, and a row that
is padded with zeros gives the same frames as the row alone. Back: pseudo-inverse of the mel
filters, then phases by Griffin-Lim.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.types import PyTree

FLOOR = 1e-3  # of the mel magnitude, about the noise floor of int16; ours
GRIFFIN_LIM_STEPS = 48  # ours
SINGULAR = 0.05  # of the largest: below, bands share bins, and their difference is noise; ours
MOMENTUM = 0.99  # fast Griffin-Lim (Perraudin et al., 2013)


class LogMel:
    """Log-mel surface features; see `surface.SurfaceFeatures` for the interface."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.sample_rate, self.hop = config.sample_rate, config.hop
        self.frame_rate = config.sample_rate / config.hop
        self.channels = config.mel_bands
        self.weights: PyTree = {}
        self.context = (0, 0)
        self.described = None
        self.window = config.window
        self.filters = mel_filters(
            config.mel_bands, config.window, config.sample_rate, config.mel_low, config.mel_high
        )
        self._hann = (
            0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
        ).astype(np.float32)

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Log-mel magnitudes, natural log, float32 [B, T, C]."""
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
        """Waveform, float32 [B, T * hop] in [-1, 1], by Griffin-Lim."""
        mel = jnp.exp(x_BxTxC.astype(jnp.float32) * params["std"] + params["mean"])
        inverse_CxF = np.linalg.pinv(self.filters, rcond=SINGULAR).astype(np.float32)
        magnitude = jnp.maximum(jnp.einsum("btc,cf->btf", mel, inverse_CxF), 0.0)
        samples = x_BxTxC.shape[1] * self.hop
        # Random start phases; a fixed key, so that decoding is a function.
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
        """The frames as they are."""
        return x_TxC

    def _transform(self, audio_BxS: jax.Array) -> jax.Array:
        """Short-time Fourier transform, complex64 [B, T, window / 2 + 1]."""
        frames = self.output_length(audio_BxS.shape[1])
        left = (self.window - self.hop) // 2
        right = (frames - 1) * self.hop + self.window - left - audio_BxS.shape[1]
        padded = jnp.pad(audio_BxS, ((0, 0), (left, right)))
        index_TxW = np.arange(frames)[:, None] * self.hop + np.arange(self.window)
        cut = padded[:, index_TxW] * self._hann
        if mesh_lib.platform() == "tpu":  # has no FFT of its own
            return fourier_matmul(cut)
        return jnp.fft.rfft(cut)

    def _inverse(self, spectrum_BxTxF: jax.Array, samples: int) -> jax.Array:
        """Least-squares waveform [B, samples] of a short-time spectrum: windowed overlap-add."""
        frames = spectrum_BxTxF.shape[1]
        left = (self.window - self.hop) // 2
        index = (np.arange(frames)[:, None] * self.hop + np.arange(self.window)).reshape(-1)
        total = (frames - 1) * self.hop + self.window
        weight = np.zeros(total, np.float32)
        np.add.at(weight, index, np.tile(self._hann**2, frames))
        pieces = jnp.fft.irfft(spectrum_BxTxF, self.window) * self._hann
        wave = jnp.zeros((len(pieces), total)).at[:, index].add(pieces.reshape(len(pieces), -1))
        return (wave / np.maximum(weight, 1e-4))[:, left : left + samples]


def fourier_matmul(x_BxTxW: jax.Array) -> jax.Array:
    """`jnp.fft.rfft` of float32 as one matmul: for 1024 samples a third of a TPU's cycles."""
    window = x_BxTxW.shape[-1]
    angle_WxF = 2 * np.pi / window * np.outer(np.arange(window), np.arange(window // 2 + 1))
    basis = np.concatenate([np.cos(angle_WxF), -np.sin(angle_WxF)], axis=1).astype(np.float32)
    both = jnp.einsum("btw,wf->btf", x_BxTxW, basis, precision="highest")
    return jax.lax.complex(*jnp.split(both, 2, axis=-1))


@functools.lru_cache
def mel_filters(bands: int, window: int, rate: int, low: float, high: float) -> np.ndarray:
    """Triangular filters on the HTK mel scale, each of unit area, float32 [window/2 + 1, bands]."""

    def to_mel(hertz: float | np.ndarray) -> float | np.ndarray:
        return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)

    edges = 700.0 * (10.0 ** (np.linspace(to_mel(low), to_mel(high), bands + 2) / 2595.0) - 1.0)
    frequency_Fx1 = np.linspace(0.0, rate / 2, window // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequency_Fx1 - left) / (centre - left)
    falling = (right - frequency_Fx1) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    # A narrow low band may fall between two bins: give it its nearest bin.
    empty = np.flatnonzero(triangles.sum(0) == 0)
    triangles[np.abs(frequency_Fx1 - centre[empty]).argmin(0), empty] = 1.0
    return (triangles / triangles.sum(0)).astype(np.float32)
