"""Texts as lines: sentences, long ones divided, times of words, exact durations."""

import numpy as np
import pytest

from tests.inference.test_speak import RATE
from uniwav_jax.errors import UserError
from uniwav_jax.inference import say, speak
from uniwav_jax.text import frontend
from uniwav_jax.text.frontend import Speech, Word


class Recorder:
    """A speaker in whose speech every symbol lasts 2 frames of 320 samples of its number."""

    def __init__(self, stress=True):
        self.calls = []
        self.config = type("C", (), {"tts": type("T", (), {"stress": stress})})
        self.features = type("F", (), {"sample_rate": RATE, "frame_rate": 50})

    def durations(self, line, settings):
        return np.full(len(line.symbols), 2)

    def no_prompt(self):
        empty = np.zeros(0, np.int32)
        return speak.Prompt(np.zeros((0, 4), np.float32), empty, empty)

    def speak(self, lines, settings):
        self.calls.append(lines)
        return [self._one(line, settings) for line in lines]

    def _one(self, line, settings):
        frames = self.durations(line, settings) if line.frames is None else line.frames
        ends = np.cumsum(frames) / 50
        starts = np.concatenate([[0], ends[:-1]])
        wave = np.full(int(frames.sum()) * 320, 0.5, np.float32)
        return speak.Speech(wave, list(zip(starts, ends, line.symbols)))


def sentence(*lengths, end="."):
    words = [Word(f"w{n}", ("AH1",) * length, "dictionary") for n, length in enumerate(lengths)]
    return [*words[:-1], Word(words[-1].text, words[-1].phones, "dictionary", end)]


def test_sentences_become_lines_and_the_first_comes_alone():
    spoken = Speech((*sentence(2, 3), *sentence(1), *sentence(4, 4)))
    speaker = Recorder()
    said = say.joined(say.stream(speaker, spoken, speaker.no_prompt(), speak.Settings()), RATE)
    assert [len(lines) for lines in speaker.calls] == [1, 2], "then as many again and one more"
    assert [word.text for word in said.words] == ["w0", "w1", "w0", "w0", "w1"]
    # sil, 5 phones, sil; then sil, 1 phone, sil: each symbol lasts 40 ms.
    assert said.words[1].start == pytest.approx(0.04 * 3)
    assert said.words[2].start == pytest.approx(0.04 * 8)
    assert said.phones[-1][1] == pytest.approx(len(said.wave) / RATE)
    assert said.wave[0] == 0 and said.wave[-1] == 0 and said.wave[2000] == 0.5


def test_long_sentences_are_divided_at_marks():
    most = say.MOST_PHONES
    words = [*sentence(*[10] * (most // 10 - 2), end=","), *sentence(*[10] * 6)]
    parts = list(say.pieces(Speech(tuple(words))))
    assert [len(part.words) for part in parts] == [most // 10 - 2, 6]
    without = list(say.pieces(Speech(tuple(sentence(*[10] * 40)))))
    assert sum(len(part.words) for part in without) == 40
    assert all(sum(len(w.phones) for w in part.words) <= most for part in without)


def test_seconds_are_shared_exactly():
    spoken = Speech((*sentence(2, 3), *sentence(9)))
    speaker = Recorder()

    def said(seconds):
        settings = speak.Settings(seconds=seconds)
        return say.joined(say.stream(speaker, spoken, speaker.no_prompt(), settings), RATE)

    assert len(said(3.0).wave) == 3 * RATE
    with pytest.raises(UserError, match=r"0\.1 s are too short for 18 phones; at least 0\.36 s"):
        said(0.1)


def test_stress_is_that_of_the_training():
    spoken = Speech(tuple(sentence(1)))
    for stress, symbol in ((True, "AH1_S"), (False, "AH_S")):
        speaker = Recorder(stress)
        list(say.stream(speaker, spoken, speaker.no_prompt(), speak.Settings()))
        assert list(speaker.calls[0][0].symbols) == ["sil", symbol, "sil"]


def test_a_text_without_words():
    with pytest.raises(UserError, match="no word to speak"):
        say.speak(Recorder(), "...")


def test_english():
    pytest.importorskip("num2words")
    said = say.speak(Recorder(), "It's 3.5 km. Yes!")
    assert [word.text for word in said.words] == "it's three point five kilometers yes".split()
    assert frontend.load("english") is frontend.load("english")
