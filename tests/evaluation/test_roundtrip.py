"""`uniwav evaluate codec` on real files."""

import importlib.util
import json

import numpy as np
import pytest
import soundfile

from tests.codec.random_codec import random_codec
from uniwav_jax import cli
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError

evaluate = cli.shortcut("evaluate", "codec")
CONFIG = SEANetConfig(filters=4, dimension=8, codebooks=3, codewords=16)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "codec"
    files.save(folder, CONFIG, random_codec(CONFIG), info={})
    return str(folder)


@pytest.fixture
def audio(clip, tmp_path):
    """A folder with one clip twice: unchanged, and in stereo at 24 kHz."""
    folder = tmp_path / "audio"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "a.flac", clip, 16000)
    soundfile.write(folder / "deep" / "b.wav", np.stack([clip, clip], 1), 24000)
    return folder


def test_roundtrip_scores(codec, audio, tmp_path, capsys):
    report = tmp_path / "scores.json"
    assert evaluate([str(audio), "--codec", codec, "--out", str(report)]) == 0
    document = json.loads(report.read_text())
    assert len(document["clips"]) == 2
    mean = document["means"]["mel_distance"]
    assert 0.5 < mean["low"] <= mean["mean"] <= mean["high"]  # random weights lose the speech
    assert "mel_distance" in capsys.readouterr().out
    if importlib.util.find_spec("pesq"):  # optional: extra [quality]
        assert document["means"]["pesq_wb"]["mean"] < 2


def test_roundtrip_of_clips_too_short_to_score(codec, clip, tmp_path, capsys):
    folder, report = tmp_path / "audio", tmp_path / "scores.json"
    folder.mkdir()
    soundfile.write(folder / "a.wav", clip[16000:19200], 16000)
    whole = [str(folder), "--codec", codec, "--out", str(report)]
    assert evaluate(whole) == 0
    assert "mel_distance" in capsys.readouterr().out
    means = json.loads(report.read_text())["means"]
    assert means["mel_distance"]["clips"] == 1
    scored = {"pesq_wb": "pesq", "stoi": "pystoi"}
    installed = [name for name, package in scored.items() if importlib.util.find_spec(package)]
    for name in installed:
        assert (means[name]["mean"], means[name]["clips"], means[name]["of"]) == (None, 0, 1)

    soundfile.write(folder / "b.wav", clip, 16000)
    soundfile.write(folder / "c.wav", clip[:1], 48000)  # not one sample at 16 kHz
    assert evaluate(whole) == 1
    printed = capsys.readouterr()
    assert "c.wav has no audio" in printed.err
    document = json.loads(report.read_text())
    for name in installed:
        (score,) = (clip[name] for clip in document["clips"].values() if name in clip)
        mean = document["means"][name]
        assert mean["mean"] == pytest.approx(score) and (mean["clips"], mean["of"]) == (1, 2)
    assert printed.out.count("1 of 2 clips") == len(installed)


def test_roundtrip_with_noise_on_the_latents(codec, audio, tmp_path):
    """The noise is reproducible and changes the scores; it cannot be added to codes."""
    distances = []
    for noise in ("0", "2", "2"):
        report = tmp_path / "scores.json"
        whole = [str(audio), "--codec", codec, "--out", str(report), "--noise", noise]
        assert evaluate(whole) == 0
        document = json.loads(report.read_text())
        assert document["noise"] == float(noise)
        distances.append([clip["mel_distance"] for clip in document["clips"].values()])
    assert distances[1] == distances[2]
    assert np.abs(np.subtract(distances[0], distances[1])).min() > 1e-3
    with pytest.raises(UserError, match=r"--noise .* --codebooks"):
        evaluate([str(audio), "--codec", codec, "--noise", "1", "--codebooks", "2"])
