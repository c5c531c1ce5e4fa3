"""Log-mel features agree with SciPy, do not depend on padding, and can be decoded."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from tests.features.conftest import PLAIN
from uniwav_jax import features as features_lib
from uniwav_jax.audio import stft
from uniwav_jax.config import FeaturesConfig


def test_against_scipy(log_mel_features, speech):
    """SciPy's short-time Fourier transform and the mel filters give the same frames."""
    wave = np.pad(speech[0] / 32768.0, (352, 352))
    transform = scipy.signal.ShortTimeFFT(
        scipy.signal.get_window("hann", 1024), hop=320, fs=16000, phase_shift=None
    )
    # SciPy's slice p is centred at sample 320 p of the padded signal, our frame i at sample
    # 352 + 160 + 320 i of it.
    shifted = np.concatenate([wave[512:], np.zeros(512)])
    magnitude = np.abs(transform.stft(shifted, p0=0, p1=150)).T
    magnitude[:2] = 0  # the first slices lack the samples that were cut off
    filters = stft.mel_filters(80, 1024, 16000, 0.0, 8000.0)
    expected = np.log(np.maximum(magnitude @ filters, 1e-3))
    ours = np.asarray(log_mel_features.raw({}, speech[:1]))[0]
    np.testing.assert_allclose(ours[2:], expected[2:], atol=2e-3)


def test_padding_does_not_change_a_row(log_mel_features, speech):
    alone = log_mel_features.encode(PLAIN, speech[:2])
    padded = log_mel_features.encode(PLAIN, np.pad(speech[:2], ((0, 0), (0, 5000))))
    np.testing.assert_allclose(padded[:, : alone.shape[1]], alone, atol=1e-5)


def test_decode_reconstructs_the_spectrogram(log_mel_features, speech):
    x = log_mel_features.encode(PLAIN, speech[:4])
    wave = log_mel_features.decode(PLAIN, x)
    assert float(jnp.abs(wave).max()) <= 1.0
    error = np.abs(log_mel_features.encode(PLAIN, wave) - x)
    assert error[np.asarray(x) > -5].mean() < 0.2  # nepers; it is 0.16, and above 1 for noise
    # The envelopes of the waveforms agree too.
    envelope = [np.abs(np.asarray(w, float)).reshape(-1, 400).mean(1) for w in (wave[0], speech[0])]
    assert np.corrcoef(*envelope)[0, 1] > 0.95


@pytest.mark.parametrize("window", [400, 1024])
def test_decode_works_on_inconsistent_spectrograms(window, speech):
    """Models generate features that no waveform has; with short windows low bands share bins."""
    features = features_lib.build(FeaturesConfig(window=window))
    x = np.asarray(features.encode(PLAIN, speech[:4]))
    x = x + 0.3 * np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    wave = np.asarray(features.decode(PLAIN, x))
    loudness, true = (np.sqrt(np.square(w).mean()) for w in (wave, speech[:4] / 32768.0))
    assert 0.5 * true < loudness < 2 * true
    error = np.abs(features.encode(PLAIN, wave) - x)
    assert error[x > -5].mean() < 0.4  # nepers
