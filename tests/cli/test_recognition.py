"""`uniwav transcribe` and `uniwav align` with a recogniser of random weights on real speech."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax.checkpoint import weights

SPOKEN = "but in less than five minutes the staircase groaned beneath an extraordinary weight"
TEXTS = ("go do you hear", "what do you mean sir")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make(tmp_path_factory.mktemp("asr"), task="asr", **SMALL)


@pytest.fixture(scope="module")
def spoken(small_corpus):
    """A manifest of the small corpus with some text."""
    header, *lines = (small_corpus / "manifest.tsv").read_text().splitlines()
    lines = [line + TEXTS[number % 2] for number, line in enumerate(lines)]
    path = small_corpus / "texts.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_transcribe_in_every_format(checkpoint, small_corpus, tmp_path, capsys):
    clips = sorted(small_corpus.glob("*.flac"))[:2]
    (tmp_path / "in").mkdir()
    audio = [soundfile.read(clip)[0] for clip in clips]
    soundfile.write(tmp_path / "in" / "long.wav", np.concatenate(audio * 3), 16000)
    soundfile.write(tmp_path / "in" / "stereo.flac", np.tile(audio[0][::2, None], 2), 8000)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(tmp_path / "in" / "empty.wav", np.zeros(0), 16000)
    audio[1][5000] = np.nan
    soundfile.write(tmp_path / "in" / "nan.wav", audio[1], 16000, subtype="FLOAT")
    arguments = ["transcribe", str(tmp_path / "in"), "--checkpoint", checkpoint]
    for form in ("txt", "tsv", "json", "srt"):
        out = tmp_path / form
        assert cli.main([*arguments, "--out", str(out), "--format", form]) == 1
        assert {p.name for p in out.iterdir()} == {f"long.{form}", f"stereo.{form}"}
    errors = capsys.readouterr().err
    assert "broken.wav" in errors and "empty.wav" in errors
    assert "nan.wav has NaN or infinite samples" in errors
    document = json.loads((tmp_path / "json" / "long.json").read_text())
    assert document["text"] == (tmp_path / "txt" / "long.txt").read_text().strip()
    for word in document["words"]:
        assert 0 <= word["start"] < word["end"] <= 18.0


def test_align_writes_textgrids(checkpoint, spoken, tmp_path, capsys):
    praatio = pytest.importorskip("praatio.textgrid", reason="extra align")
    out = tmp_path / "aligned"
    arguments = ["align", str(spoken), "--checkpoint", checkpoint, "--out", str(out)]
    assert cli.main(arguments) == 0
    name = spoken.read_text().splitlines()[1].split("\t")[0].removesuffix(".flac")
    grid = praatio.openTextgrid(str(out / f"{name}.TextGrid"), includeEmptyIntervals=False)
    words = grid.getTier("words").entries
    assert [word.label for word in words] == TEXTS[0].split()
    letters = [entry.label for entry in grid.getTier("letters").entries]
    assert "".join(letters) == TEXTS[0].replace(" ", "")
    for before, after in itertools.pairwise(words):
        assert before.end <= after.start + 1e-6
    assert len((out / f"{name}.tsv").read_text().splitlines()) == 5

    folder = tmp_path / "beside"
    folder.mkdir()
    audio, rate = soundfile.read(spoken.parent / f"{name}.flac")
    for clip, text in (("a", "go do"), ("b", "g\u00f6"), ("c", "go " * 80), ("d", "")):
        soundfile.write(folder / f"{clip}.wav", audio, rate)
        (folder / f"{clip}.txt").write_text(text)
    assert cli.main(["align", str(folder), *arguments[2:]]) == 1
    errors = capsys.readouterr().err
    for part in (
        "b.wav: text not in the alphabet: \u00f6",
        "c.wav: the text needs",
        "d.wav: no text",
    ):
        assert part in errors
    assert (out / "a.TextGrid").exists() and not (out / "b.TextGrid").exists()


def test_text_goes_to_the_terminal_without_a_folder(checkpoint, small_corpus, capsys):
    clip = str(min(small_corpus.glob("*.flac")))
    assert cli.main(["transcribe", clip, "--checkpoint", checkpoint]) == 0
    assert capsys.readouterr().out.startswith(f"{clip}: ")


def test_the_model_that_ships_aligns_the_recording_that_ships(tmp_path, capsys):
    """Without --checkpoint; the recording's speaker is in no training speech."""
    (clip,) = weights.INSTALLED.glob("example/*.flac")
    scores = []
    for text in (SPOKEN, " ".join(reversed(SPOKEN.split()))):
        shutil.copy(clip, tmp_path / "clip.flac")
        (tmp_path / "clip.txt").write_text(text)
        assert cli.main(["align", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
        scores.append(float(re.search(r"ln p (\S+) a frame", capsys.readouterr().out)[1]))
        rows = (tmp_path / "out" / "clip.tsv").read_text().splitlines()[1:]
        assert [row.split("\t")[2] for row in rows] == text.split()
    assert scores[0] > scores[1] + 0.1
