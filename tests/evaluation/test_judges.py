"""Judges: what they score, what is left out, and what is said of missing packages."""

import builtins

import numpy as np
import pytest

from tests.evaluation import codecs
from uniwav_jax.evaluation import judges
from uniwav_jax.evaluation.systems import Clip


def test_scores_of_a_clip_and_their_means(clip):
    jury = codecs.jury()
    same, quiet = Clip("a", clip, "Go!"), Clip("b", clip, "go there")
    silent = Clip("c", clip, "")
    scored = [jury.score(same, clip, sample_rate=16000)]
    scored.append(jury.score(quiet, 0.001 * clip, sample_rate=16000))
    scored.append(jury.score(silent, np.full_like(clip, np.nan), sample_rate=16000))
    assert scored[0]["transcript"] == "go" and scored[0]["errors"] == [0, 0, 0, 1]
    assert scored[0]["speaker_cosine"] == pytest.approx(1.0)
    assert scored[1]["errors"] == [0, 2, 0, 0] and scored[1]["speaker_cosine"] < 1.0
    assert "errors" not in scored[2] and "mel_distance" not in scored[2]
    means = jury.means(scored)
    assert list(means) == jury.names
    assert means["word_error"].mean == pytest.approx(2 / 3)
    assert (means["word_error"].clips, means["word_error"].of) == (2, 3)
    assert means["word_error"].low <= 2 / 3 <= means["word_error"].high
    assert means["mel_distance"].clips == 2


def test_no_clip_has_a_text():
    assert judges.error_rate([], 4).mean is None
    one = judges.error_rate([[1, 0, 0, 1]], 1)
    assert (one.mean, one.low) == (0.5, None)


def test_missing_packages_are_named_and_left_out(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name in ("faster_whisper", "resemblyzer"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    jury, notes = judges.load()
    assert not {"word_error", "speaker_cosine"} & set(jury.names)
    whisper, speaker = notes[-2:]
    assert "word_error is left out: it needs 'pip install faster-whisper'" in whisper
    assert "speaker_cosine is left out" in speaker and "Resemblyzer" in speaker


def test_a_recogniser_that_cannot_be_loaded_is_left_out(tmp_path):
    pytest.importorskip("faster_whisper")
    jury, notes = judges.load(str(tmp_path))
    assert "word_error" not in jury.names
    assert any("its model cannot be loaded" in note for note in notes)


def test_audio_is_resampled():
    assert len(judges.resampled(np.zeros(2400, np.float32), 24000)) == 1600
