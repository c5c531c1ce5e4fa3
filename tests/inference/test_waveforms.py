"""Waveforms to features and back in pieces, and where a voice begins and ends."""

import dataclasses

import numpy as np
import pytest

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features.codec_latents import CodecFeatures
from uniwav_jax.inference import waveforms
from uniwav_jax.inference.waveforms import Sampling, Waveforms

RATE, HOP = 16000, 320


@pytest.fixture(scope="module")
def codec():
    features = CodecFeatures(FeaturesConfig(kind="codec"))
    zeros = np.zeros(features.channels, np.float32)
    return Waveforms(features, {**features.weights, "mean": zeros, "std": zeros + 1})


def test_a_clip_in_pieces_is_the_same_as_whole(codec, clip, monkeypatch):
    x_TxC = codec.latents(clip)
    assert x_TxC.shape == (len(clip) // HOP, codec.features.channels)
    whole = codec.audio(x_TxC)
    assert len(whole) == len(x_TxC) * HOP
    monkeypatch.setattr(waveforms, "PIECE", 70)
    np.testing.assert_allclose(codec.audio(x_TxC), whole, atol=1e-5)
    again = codec.round_trip(clip)
    assert again.shape == clip.shape and np.corrcoef(again, clip)[0, 1] > 0.95
    # What follows the last frame, silence or the rest of the clip, reaches 0.3 s back.
    np.testing.assert_allclose(again[: len(whole) - 4800], whole[:-4800], atol=1e-5)
    assert codec.audio(x_TxC[:0]).shape == (0,)


def test_a_voice_is_the_speech_without_long_silence(codec, clip):
    silence = np.zeros(2 * RATE, np.float32)
    padded = np.concatenate([silence, clip[RATE : 4 * RATE], silence])
    first, last = codec.voice(padded, 10.0)
    assert first % HOP == (last - first) % HOP == 0
    assert first >= 2 * RATE - 0.3 * RATE and last <= 5 * RATE + 0.3 * RATE
    first, last = codec.voice(padded, 1.0)
    assert last - first == RATE
    for audio, message in ((silence, "is silent"), (clip[RATE : RATE + 4000], "at least 0.5 s")):
        with pytest.raises(UserError, match=message):
            codec.voice(audio, 3.0)


def test_settings_must_be_positive():
    assert Sampling(seed=3, guidance=0.0).steps is None
    for name in ("temperature", "steps"):
        with pytest.raises(UserError, match=f"{name} must be positive; got 0"):
            Sampling(**{name: 0})
    assert dataclasses.fields(Sampling)[0].name == "seed"
