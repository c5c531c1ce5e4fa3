"""The transform agrees with NumPy and has an inverse; mel filters have unit area."""

import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.audio import stft

NOISE = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)


def loop(audio, window_W, hop):
    """The windows of the audio, and their transforms, in float64."""
    window = len(window_W)
    starts = range(0, audio.shape[1] - window + 1, hop)
    cut = np.stack([audio[:, s : s + window] * window_W.astype(np.float64) for s in starts], 1)
    return cut, np.fft.rfft(cut)


@pytest.mark.parametrize(("window", "hop"), [(1024, 320), (400, 160), (256, 64)])
def test_equals_a_loop_over_windows_in_both_forms(window, hop):
    window_W = stft.hann(window)
    cut, expected = loop(NOISE, window_W, hop)
    loudest = np.abs(expected).max()
    found = stft.transform(NOISE, window_W, hop)
    assert found.shape == (2, 1 + (5000 - window) // hop, window // 2 + 1)
    assert np.abs(found - expected).max() < 1e-6 * loudest
    on_tpu = stft.fourier_matmul(jnp.asarray(cut, jnp.float32))
    assert np.abs(on_tpu - expected).max() < 1e-6 * loudest


def test_hann_is_periodic_and_of_unit_energy_if_asked():
    np.testing.assert_allclose(stft.hann(8), np.hanning(9)[:8], atol=1e-7)
    assert np.square(stft.hann(512, unit_energy=True)).sum() == pytest.approx(1)


def test_inverse_reconstructs_the_waveform():
    window_W = stft.hann(512)
    wave = stft.inverse(stft.transform(NOISE, window_W, 100), window_W, 100)
    assert wave.shape[1] == 44 * 100 + 512
    np.testing.assert_allclose(wave[:, 50:-50], NOISE[:, 50 : 44 * 100 + 462], atol=1e-4)


def test_filters_cover_the_band_with_unit_area():
    filters = stft.mel_filters(80, 1024, 16000, 0.0, 8000.0)
    np.testing.assert_allclose(filters.sum(0), 1.0, rtol=1e-5)
    peaks = filters.argmax(0)
    assert (np.diff(peaks) >= 0).all() and peaks[0] <= 2 and peaks[-1] > 490


def test_bands_narrower_than_a_bin_use_the_nearest_bin():
    filters = stft.mel_filters(320, 2048, 16000, 0.0, 8000.0)
    np.testing.assert_allclose(filters.sum(0), 1.0, rtol=1e-5)
