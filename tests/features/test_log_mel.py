import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import soundfile

from uniwav_jax import features as features_lib
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features import log_mel, statistics

PLAIN = {"mean": np.zeros(80, np.float32), "std": np.ones(80, np.float32)}


@pytest.fixture(scope="module")
def features():
    return features_lib.build(FeaturesConfig())


@pytest.fixture(scope="module")
def speech(small_corpus):
    clips = [soundfile.read(p, dtype="int16")[0] for p in sorted(small_corpus.glob("*.flac"))]
    return np.stack([clip for clip in clips if len(clip) == 48000])


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 16000, 16001])
def test_output_length(features, samples):
    x = features.encode(PLAIN, jnp.zeros((2, samples), jnp.int16))
    assert x.shape == (2, features.output_length(samples), features.channels)
    assert features.output_length(samples) == -(-samples // 320)
    assert features.decode(PLAIN, x).shape == (2, x.shape[1] * 320)


def test_against_scipy(features, speech):
    """The same frames by another short-time Fourier transform and a filter loop."""
    wave = np.pad(speech[0] / 32768.0, (352, 352))
    transform = scipy.signal.ShortTimeFFT(
        scipy.signal.get_window("hann", 1024), hop=320, fs=16000, phase_shift=None
    )
    # Its slice p is centred at 320 p of the padded signal; frame i there at 352 + 160 + 320 i.
    shifted = np.concatenate([wave[512:], np.zeros(512)])
    magnitude = np.abs(transform.stft(shifted, p0=0, p1=150)).T
    magnitude[:2] = 0  # its first slices miss what was cut off
    filters = log_mel.mel_filters(80, 1024, 16000, 0.0, 8000.0)
    expected = np.log(np.maximum(magnitude @ filters, 1e-3))
    ours = np.asarray(features.raw({}, speech[:1]))[0]
    np.testing.assert_allclose(ours[2:], expected[2:], atol=2e-3)


@pytest.mark.parametrize("window", [1024, 400])
def test_tpu_form_of_the_fourier_transform(speech, window):
    cut = jnp.asarray(
        speech[:, : 20 * window].reshape(len(speech), 20, window) / 2**15, jnp.float32
    )
    expected = np.fft.rfft(np.asarray(cut, np.float64))
    loudest = np.abs(expected).max()
    assert np.abs(log_mel.fourier_matmul(cut) - expected).max() < 1e-6 * loudest
    assert np.abs(jnp.fft.rfft(cut) - expected).max() < 1e-6 * loudest


def test_filters_cover_the_band_with_unit_area():
    filters = log_mel.mel_filters(80, 1024, 16000, 0.0, 8000.0)
    np.testing.assert_allclose(filters.sum(0), 1.0, rtol=1e-5)
    peaks = filters.argmax(0)
    assert (np.diff(peaks) >= 0).all() and peaks[0] <= 2 and peaks[-1] > 490


def test_padding_does_not_change_a_row(features, speech):
    alone = features.encode(PLAIN, speech[:2])
    padded = features.encode(PLAIN, np.pad(speech[:2], ((0, 0), (0, 5000))))
    np.testing.assert_allclose(padded[:, : alone.shape[1]], alone, atol=1e-5)


def test_decode_gives_the_spectrogram_back(features, speech):
    x = features.encode(PLAIN, speech[:4])
    wave = features.decode(PLAIN, x)
    assert float(jnp.abs(wave).max()) <= 1.0
    error = np.abs(features.encode(PLAIN, wave) - x)
    assert error[np.asarray(x) > -5].mean() < 0.15  # nepers; 0.08 measured, noise gives over 1
    # And it is that speech: the envelopes agree.
    envelope = [np.abs(np.asarray(w, float)).reshape(-1, 400).mean(1) for w in (wave[0], speech[0])]
    assert np.corrcoef(*envelope)[0, 1] > 0.95


@pytest.mark.parametrize("window", [400, 1024])
def test_decode_bears_what_a_model_generates(window, speech):
    """No spectrogram of any sound, that is; short windows leave low bands with the same bins."""
    features = features_lib.build(FeaturesConfig(window=window))
    x = np.asarray(features.encode(PLAIN, speech[:4]))
    x = x + 0.3 * np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    wave = np.asarray(features.decode(PLAIN, x))
    loudness, true = (np.sqrt(np.square(w).mean()) for w in (wave, speech[:4] / 32768.0))
    assert 0.5 * true < loudness < 2 * true
    error = np.abs(features.encode(PLAIN, wave) - x)
    assert error[x > -5].mean() < 0.4  # nepers


def test_statistics_ignore_padding_and_normalise(features, speech):
    samples = np.full(len(speech), 30000, np.int32)
    audio = np.where(np.arange(48000) < 30000, speech, 0).astype(np.int16)
    item = {"audio": audio, "samples": samples}
    params = statistics.measure(features, iter([item] * 3), 60.0)
    raw = np.asarray(features.raw({}, audio))[:, : features.output_length(30000)]
    np.testing.assert_allclose(params["mean"], raw.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(params["std"], raw.std((0, 1)), rtol=1e-3)
    x = np.asarray(features.encode(params, audio))[:, : features.output_length(30000)]
    assert abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-2


def test_statistics_file(tmp_path):
    config, path = FeaturesConfig(), tmp_path / "stats.json"
    statistics.save(str(path), PLAIN, config)
    np.testing.assert_array_equal(statistics.load(str(path), config)["std"], PLAIN["std"])
    with pytest.raises(UserError, match="measure again"):
        statistics.load(str(path), FeaturesConfig(mel_bands=40))
    path.write_text(json.dumps({"mean": []}))
    with pytest.raises(UserError, match="is not a file of 'uniwav data stats"):
        statistics.load(str(path), config)
    with pytest.raises(UserError, match="does not exist"):
        statistics.load(str(tmp_path / "none.json"), config)
    silent = {"audio": np.zeros((1, 320), np.int16), "samples": np.zeros(1, np.int32)}
    with pytest.raises(UserError, match="no audio could be read"):
        statistics.measure(features_lib.build(config), iter([silent] * 200), 1.0)
