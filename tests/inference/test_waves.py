"""Waves of all types become mono float32 blocks at the model's rate, or raise a clear error."""

import numpy as np
import pytest
import soundfile

from uniwav_jax.errors import UserError
from uniwav_jax.inference import waves

RATE = 16000
RANDOM = np.random.default_rng(0)
STEREO = RANDOM.uniform(-0.5, 0.5, (2, 1000)).astype(np.float32)


def read(wave, rate=None):
    return np.concatenate(list(waves.blocks(wave, rate, sample_rate=RATE)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_not_scaled(dtype):
    audio = STEREO[0].astype(dtype)
    found = read(audio)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, audio.astype(np.float32))


def test_integers_are_scaled():
    np.testing.assert_array_equal(read(np.array([-32768, 0, 16384], np.int16)), [-1, 0, 0.5])


def test_the_shorter_axis_has_the_channels():
    for wave in (STEREO, STEREO.T):
        np.testing.assert_allclose(read(wave), STEREO.mean(0), atol=1e-7)
    np.testing.assert_array_equal(read(STEREO[:1]), STEREO[0])


def test_long_waves_are_cut_into_blocks():
    long = np.zeros(waves.BLOCK + 5, np.float32)
    assert [len(b) for b in waves.blocks(long, None, sample_rate=RATE)] == [waves.BLOCK, 5]


def test_resampling_keeps_a_tone(tmp_path):
    seconds = np.arange(0, 1, 1 / 44100)
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    found = read(tone, 44100)
    assert len(found) == RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(found[100:-100], expected[100:-100], atol=1e-3)
    soundfile.write(tmp_path / "tone.wav", tone, 44100, subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "tone.wav"), found, atol=1e-4)


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros(0, np.float32), None, "empty"),
        (np.zeros((2, 0), np.float32), None, "empty"),
        (np.array([0.0, np.nan]), None, "NaN or infinite"),
        (np.array([0.0, np.inf]), None, "NaN or infinite"),
        (np.zeros(9, np.int32), None, "got int32"),
        (np.zeros(9, bool), None, "got bool"),
        (np.array(0.5), None, r"got \(\)"),
        (np.zeros((2, 3, 4)), None, r"got \(2, 3, 4\)"),
        (np.zeros((9, 1000)), None, "clips of a batch one by one"),
        (np.array([0.0, 20000.0]), None, "integers are int16"),
        (np.zeros(9), 0, "must be positive"),
        (np.zeros(9), -1, "must be positive"),
        (np.zeros(1), 192000, "shorter than one sample"),
        ("absent.wav", None, "absent.wav does not exist"),
        ([], None, "empty"),
    ],
)
def test_errors_explain_the_problem(wave, rate, message):
    with pytest.raises(UserError, match=message):
        read(wave, rate)
