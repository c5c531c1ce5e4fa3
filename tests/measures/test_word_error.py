"""Error counts agree with counting by hand."""

import numpy as np
import pytest

from uniwav_jax.measures import word_error


def test_words_and_characters():
    references, hypotheses = ["the cat sat", "a b"], ["the bat sat down", "b"]
    words = word_error.words(references, hypotheses)
    # Substitutions, deletions, insertions, hits.
    assert words.counts.tolist() == [[1, 0, 1, 2], [0, 1, 0, 1]]
    assert words.rate == pytest.approx(3 / 5)
    assert "bat" in words.alignment
    characters = word_error.characters(references, hypotheses)
    assert characters.counts.sum(0).tolist() == [1, 2, 5, 11]
    assert characters.rate == pytest.approx(8 / 14)


def test_interval_is_over_the_utterances():
    """With nine of ten texts correct, the interval of the rate lies around a tenth."""
    errors = word_error.words(["a"] * 50, ["b"] * 5 + ["a"] * 45)
    low, high = errors.interval()
    assert 0 < low < errors.rate == 0.1 < high < 0.25
    assert word_error.words(["a"], ["a b c"]).rate == 2.0
    assert word_error.rate(np.array([0, 0, 0, 3])) == 0.0
