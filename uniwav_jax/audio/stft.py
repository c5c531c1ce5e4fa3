"""The short-time Fourier transform, its inverse, and mel filters.

    waveform [B, S] -> windows of W samples, one every `hop`, that lie whole in it [B, T, W]
        -> discrete Fourier transform complex64 [B, T, F]

T = 1 + floor((S - W) / hop) and F = W / 2 + 1; a caller that wants other frames pads the waveform.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.parallel import mesh as mesh_lib


@functools.lru_cache  # one array per window is one constant in a compiled program
def hann(window: int, *, unit_energy: bool = False) -> np.ndarray:
    """The periodic Hann window of `window` samples, float32 [W]."""
    hann_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    if unit_energy:
        hann_W = hann_W / np.sqrt(np.square(hann_W).sum())
    return hann_W.astype(np.float32)


def transform(audio_BxS: jax.Array, window_W: np.ndarray, hop: int) -> jax.Array:
    """The transform of a float32 waveform, complex64 [B, T, F]."""
    window = len(window_W)
    starts_T = np.arange(0, audio_BxS.shape[1] - window + 1, hop)
    cut_BxTxW = audio_BxS[:, starts_T[:, None] + np.arange(window)] * window_W
    if mesh_lib.platform() == "tpu":  # TPUs have no hardware for FFTs
        return fourier_matmul(cut_BxTxW)
    return jnp.fft.rfft(cut_BxTxW)


def inverse(spectrum_BxTxF: jax.Array, window_W: np.ndarray, hop: int) -> jax.Array:
    """The waveform with the nearest transform in the least-squares sense: windowed overlap-add.

    Returns:
        float32 [B, (T - 1) * hop + W].
    """
    frames, window = spectrum_BxTxF.shape[1], len(window_W)
    index = (np.arange(frames)[:, None] * hop + np.arange(window)).reshape(-1)
    total = (frames - 1) * hop + window
    weight = np.zeros(total, np.float32)
    np.add.at(weight, index, np.tile(window_W**2, frames))
    pieces = jnp.fft.irfft(spectrum_BxTxF, window) * window_W
    wave = jnp.zeros((len(pieces), total)).at[:, index].add(pieces.reshape(len(pieces), -1))
    return wave / np.maximum(weight, 1e-4)


def fourier_matmul(x_BxTxW: jax.Array) -> jax.Array:
    """`jnp.fft.rfft` of float32 as one matmul: for 1024 samples a third of a TPU's cycles."""
    window = x_BxTxW.shape[-1]
    angle_WxF = 2 * np.pi / window * np.outer(np.arange(window), np.arange(window // 2 + 1))
    basis = np.concatenate([np.cos(angle_WxF), -np.sin(angle_WxF)], axis=1).astype(np.float32)
    both = jnp.einsum("btw,wf->btf", x_BxTxW, basis, precision="highest")
    return jax.lax.complex(*jnp.split(both, 2, axis=-1))


@functools.lru_cache
def mel_filters(bands: int, window: int, rate: int, low: float, high: float) -> np.ndarray:
    """Triangular filters on the HTK mel scale, each of unit area.

    Args:
        bands: number of filters.
        window: W, samples of a window.
        rate: sample rate in Hz.
        low, high: lower edge of the first and upper edge of the last filter in Hz.

    Returns:
        float32 [F, bands].
    """

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
