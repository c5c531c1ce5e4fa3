"""Codecs and log-mel encode and decode whole clips of any length."""

import numpy as np
import pytest
import soundfile

from tests.evaluation import codecs
from uniwav_jax import features as features_lib
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import systems


def test_log_mel_keeps_speech_and_its_length(clip):
    mel = systems.System("mel")
    frames = mel.encode(clip)
    assert frames.shape == (250, 80) and mel.features.channels == 80
    decoded = mel.decode(frames)
    assert decoded.shape == (250 * 320,) and np.abs(decoded).max() <= 1.0
    again = mel.encode(decoded[: len(clip)])
    assert np.abs(again - frames).mean() < 0.3 < np.abs(frames - frames.mean(0)).mean()


def test_a_codec_gives_the_latents_of_training(clip, tmp_path):
    codec = systems.System(codecs.save(tmp_path / "codec"))
    latents = codec.encode(clip)
    features = features_lib.build(codec.config)
    audio = np.pad(clip, features.context)[None]
    same = np.asarray(features.raw(features.weights, audio))[0]
    # At the ends of a file the codec's layers read zeros, and features read silence.
    np.testing.assert_allclose(latents[:-10], same[:-10], atol=2e-3)
    assert len(codec.decode(latents)) == len(latents) * 320
    codes = codec.encode(clip, stages=2)
    assert codes.shape == (2, 250) and len(codec.decode(codes)) == 250 * 320


def test_clips_that_cannot_be_read_are_named(clip, tmp_path):
    lines = ["path\tsamples\tsample_rate\ttext"]
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", clip[:8000], 16000)
        lines.append(f"{name}.wav\t8000\t16000\tgo")
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "b.wav").write_bytes(b"nothing")
    clips, (error,) = systems.read(str(tmp_path / "m.tsv"), sample_rate=16000)
    assert [(c.name, len(c.audio), c.text) for c in clips] == [
        ("a.wav", 8000, "go"),
        ("c.wav", 8000, "go"),
    ]
    assert "b.wav" in str(error)
    two, _ = systems.read(str(tmp_path / "m.tsv"), sample_rate=16000, limit=2)
    assert [c.name for c in two] == ["a.wav", "c.wav"]  # spread over the manifest
    for name in "ac":
        (tmp_path / f"{name}.wav").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no clip of .* could be read"):
        systems.read(str(tmp_path / "m.tsv"), sample_rate=16000)
