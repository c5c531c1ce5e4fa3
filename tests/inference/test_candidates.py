"""Candidates: ranked by the CTC loss of the line's text, the best is kept."""

import numpy as np
import pytest

from tests.inference.test_say import Recorder, sentence
from tests.inference.test_voices import Fake, spelt
from uniwav_jax.errors import UserError
from uniwav_jax.inference import say, speak
from uniwav_jax.inference.candidates import Candidates
from uniwav_jax.text.frontend import Speech


class Seeded(Recorder):
    """A recorder whose waves have the level of their seed."""

    def speak(self, lines, settings):
        made = super().speak(lines, settings)
        return [speak.Speech(0.1 * settings.seed * said.wave, said.phones) for said in made]


class Hears(Fake):
    """A recogniser that hears "w0" in waves of one level only."""

    def __init__(self, level, text="w0", frames=100):
        super().__init__("letters", "|w01", spelt(text, 3, 4), frames)
        self.level = level
        self.silence = np.log(np.full_like(self.log_probs, 0.2))

    def run(self, files, *, few=False):
        for name, blocks in files:
            typical = np.median(np.concatenate(list(blocks)))
            right = typical == pytest.approx(self.level, rel=0.05)
            yield name, self.log_probs if right else self.silence


def spoken(level, count=3, **options):
    speaker, best = Seeded(), Candidates(Hears(level, **options), count)
    text = Speech((*sentence(2), *sentence(3)))
    settings = speak.Settings(seed=4)
    parts = list(say.stream(speaker, text, speaker.no_prompt(), settings, best))
    return parts, best.choices


def test_the_best_of_several_seeds_is_kept():
    parts, choices = spoken(0.1 * 5 * 0.5)
    assert [choice.seed for choice in choices] == [5, 5] and len(parts) == 2
    for (speech, _), choice in zip(parts, choices):
        assert speech.wave.max() == pytest.approx(0.25)
        assert len(choice.losses) == 3 and choice.losses[1] == min(choice.losses) < 0.1
        assert choice.losses[0] == choice.losses[2] > 1


def test_a_text_that_cannot_fit_loses():
    _, choices = spoken(0.25, frames=1, text="")
    assert choices[0].losses == (np.inf,) * 3 and choices[0].seed == 4


def test_mistakes():
    with pytest.raises(UserError, match="from 1 to 64; got 0"):
        Candidates(Hears(1.0), 0)
    with pytest.raises(UserError, match=r"give one \(--recognizer\)"):
        Candidates(None, 2)
    with pytest.raises(UserError, match="cannot spell 'w0 w1 w2'"):
        best = Candidates(Fake("letters", "|w01", []), 2)
        speaker, text = Seeded(), Speech(tuple(sentence(1, 1, 1)))
        list(say.stream(speaker, text, speaker.no_prompt(), speak.Settings(), best))
