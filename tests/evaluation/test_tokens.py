"""Judging speech tokens: the rows, the voices of the prompts, the residual quantiser of latents."""

import numpy as np
import pytest

from tests.cli.test_tokens import make_run
from tests.evaluation.test_speech import corpus
from tests.inference.test_speak import RATE
from uniwav_jax import api
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import tokens
from uniwav_jax.evaluation.heard import Heard
from uniwav_jax.evaluation.judges import Judges


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return api.load(make_run(tmp_path_factory.mktemp("tokenizer")))


def loudness(audio):
    vector = np.array([1.0, np.abs(audio).max()])
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def document(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    corpus(folder, "aab")
    path = str(folder / "m.tsv")
    judges = Judges(lambda audio: "hi there" if np.abs(audio).max() > 0.15 else "hi", loudness)
    heard = Heard(1)
    options = {"seeds": (0, 1), "fit_manifest": path, "heard": heard}
    with pytest.MonkeyPatch.context() as patch:  # test_signal has the measures of waveforms
        patch.setattr("uniwav_jax.evaluation.judges.signal.scores", lambda *_, **__: {"stoi": 0.5})
        found = tokens.evaluate(model, path, judges, **options)
    heard.write(str(folder / "page.html"), title="Tokens", table=tokens.render(found))
    text = (folder / "page.html").read_text()
    assert text.count("<audio") == len(found["rows"])  # of one clip with one seed
    return found


def test_rows(document):
    rows = document["rows"]
    assert list(rows) == [
        *("real", "round trip", "unquantised, voice", "unquantised"),
        *("1 book, voice", "1 book", "2 books, voice", "2 books", "latents"),
    ]
    assert document["clips"] == 3 and document["payload"] == 400
    assert [len(document["each"][row]) for row in ("real", "1 book", "latents")] == [3, 6, 3]
    # The first of three clips is too quiet for the judge.
    np.testing.assert_allclose(rows["real"]["word_error"]["mean"], 1 / 6)
    np.testing.assert_allclose(rows["real"]["speaker_cosine"]["mean"], 1.0)
    assert all(0 < book["use"] <= 1 for book in document["books"]) and len(document["books"]) == 2
    assert rows["2 books"]["stoi"]["mean"] == 0.5
    assert list(document["minus_latents"]) == list(rows)[2:-1]
    found = document["minus_latents"]["1 book"]
    means = [rows[row]["word_error"]["mean"] for row in ("1 book", "latents")]
    np.testing.assert_allclose(found["mean"], means[0] - means[1], atol=1e-9)
    assert found["low"] <= found["mean"] <= found["high"]
    table = tokens.render(document)
    assert "Word error of 1 book minus that of latents: " in table
    assert "| 2 books, voice " in table and "Payload 400, entropy" in table


def test_voices_are_of_the_same_speaker(model, tmp_path):
    """Clips 0 and 1 are of one speaker and have each other's voice, clip 2 has its own."""
    corpus(tmp_path, "aab")
    found, tally = tokens._read(model, str(tmp_path / "m.tsv"), None)
    prompts = [model.detokenizer.prompt(clip.audio) for clip in found.clips]
    for number, other in enumerate((1, 0, 2)):
        np.testing.assert_array_equal(found.voices[number], prompts[other])
    assert tally.clips == 3 and tally.frames == 3 * 4 * 50


def test_the_residual_quantiser_of_latents(model, prompts, tmp_path):
    """More books leave less of the latents."""
    corpus(tmp_path, "a")
    audio = (prompts.speech(3 * RATE) / 32768).astype(np.float32)
    words = tokens._fit(model, str(tmp_path / "m.tsv"), 2)
    assert words.shape[::2] == (2, model.detokenizer.features.channels)
    assert len(tokens._quantised(model, audio, words)) == 3 * RATE


def test_choice_of_rows(model, tmp_path):
    corpus(tmp_path, "aa")
    path = str(tmp_path / "m.tsv")
    judges = Judges(lambda audio: "hi", loudness)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uniwav_jax.evaluation.judges.signal.scores", lambda *_, **__: {})
        found = tokens.evaluate(model, path, judges, rows=["1 book", "real"])
    assert list(found["rows"]) == ["real", "1 book"] and not found["minus_latents"]
    with pytest.raises(UserError, match=r"no row 'latents'; rows are real, .*needs fit_manifest"):
        tokens.evaluate(model, path, judges, rows=["latents"])
