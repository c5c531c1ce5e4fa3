"""A page with what the models that ship make of a recording."""

import re

import pytest
import soundfile

from uniwav_jax import api, cli
from uniwav_jax.cli import tour
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import page
from uniwav_jax.tokens import files


def test_tour_of_the_recording_that_ships(tmp_path, capsys):
    assert cli.main(["tour", "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    model = api.load("mini-tokenizer")
    (uwt,) = tmp_path.glob("*.uwt")
    tokens = files.read(uwt)
    tokens.check_model(model.tokenizer.digest, name="the tokens")
    assert tokens.bits_per_second == 1000 and tokens.prompt is not None
    printed = capsys.readouterr()
    for name in names:
        assert name in printed.out, name
    for rate in (500, 1000):
        wave, hertz = soundfile.read(tmp_path / f"tokens_at_{rate}_bit_per_s.wav")
        assert hertz == 16000 and len(wave) == tokens.samples and wave.std() > 0.01
    sounds = len(names) - 1  # the recording's tokens have no sound, the recording has no file
    assert len(re.findall("<audio", (tmp_path / "page.html").read_text())) == sounds
    assert ("spoken_text.wav" in names) == ("mini-tts" in api.SHIPPED), printed.err


def test_a_recording_and_a_text_of_ones_own(clip, tmp_path, monkeypatch):
    """The models' part is tested above."""
    given = []
    monkeypatch.setattr(tour, "_through_tokens", lambda *_: [])
    monkeypatch.setattr(
        tour,
        "_spoken",
        lambda *words: given.append(words) or page.Sound("spoken text", clip, 16000),
    )
    monkeypatch.setattr(tour, "PACKAGES", ())
    voice = str(tmp_path / "my voice.wav")
    soundfile.write(voice, clip, 16000)
    assert cli.main(["tour", voice, "--text", "Yes.", "--out", str(tmp_path / "out")]) == 0
    assert given == [("Yes.", voice)]
    assert files.read(tmp_path / "out" / "my voice.uwt").samples == len(clip)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none\.wav"):
        cli.main(["tour", str(tmp_path / "none.wav"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
