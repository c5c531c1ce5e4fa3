"""Scores of a recogniser agree with its texts; end_to_end compares them with a run's metrics."""

import json
import pathlib

import pytest

import uniwav_jax
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import recognition
from uniwav_jax.measures import word_error


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make(tmp_path_factory.mktemp("asr"), task="asr", **SMALL)


@pytest.fixture(scope="module")
def spoken(small_corpus):
    header, *lines = (small_corpus / "manifest.tsv").read_text().splitlines()
    texts = ("Go do a", "Go do b", "Go do c", "Go do 4", "")
    lines = [line + text for line, text in zip(lines, texts, strict=False)]
    path = small_corpus / "three.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_scores(checkpoint, spoken, tmp_path, capsys):
    command = ["evaluate", "asr", "--checkpoint", checkpoint, "--manifest", spoken]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["clips"] == 3 and results["clips_left_out"] == 2
    assert 5 < results["audio_seconds"] <= 9
    header, *rows = (tmp_path / "out" / "hypotheses.tsv").read_text().splitlines()
    assert header == "path\ttext\thypothesis"
    names, references, hypotheses = zip(*(row.split("\t") for row in rows))
    assert references == ("go do a", "go do b", "go do c")
    model = uniwav_jax.load(checkpoint)
    folder = spoken.rpartition("/")[0]
    assert hypotheses == tuple(model.transcribe(f"{folder}/{name}").text for name in names)
    (greedy,) = results["decodings"]
    assert greedy["wer"] == round(word_error.words(references, hypotheses).rate, 4)
    assert "REF:" in (tmp_path / "out" / "alignment.txt").read_text()
    printed = capsys.readouterr().out
    assert "lowest word error rate" in printed and "2 of 5 clips are left out" in printed


def test_a_clip_that_cannot_be_read_is_left_out(checkpoint, spoken, tmp_path, capsys):
    """It is named and counted, and the status is 1; the others are scored."""
    folder, _, _ = spoken.rpartition("/")
    header, good, *_ = pathlib.Path(spoken).read_text().splitlines()
    bad = "no.flac\t9\t16000\t\ta"
    manifest = tmp_path / "m.tsv"
    manifest.write_text(f"{header}\n{bad}\n{folder}/{good}\n")
    command = ["evaluate", "asr", "--checkpoint", checkpoint, "--manifest", str(manifest)]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["clips"], results["clips_unreadable"]) == (1, ["no.flac"])
    assert "no.flac does not exist" in capsys.readouterr().err
    manifest.write_text(f"{header}\n{bad}\n")
    with pytest.raises(UserError, match="none of its clips can be read"):
        cli.main(command)


def test_each_weight_is_combined_with_each_word_score():
    assert recognition.decodings(None, [1.0], [0.0]) == [{}]
    tried = recognition.decodings("lm", [1.0, 2.0], [-1.0, 0.0])
    assert tried[0] == {} and len(tried) == 5
    assert {"lm_weight": 2.0, "word_score": -1.0} in tried
