"""Lengths by characters: weights, the tempo of a prompt, short texts."""

import pytest

from uniwav_jax.inference import characters


def test_weights():
    assert characters.weight("Ab c, 12!") == pytest.approx(3 + 2 * 0.2 + 2 * 0.5 + 2 * 3.5)
    assert characters.weight("e\u0301") == 1.0, "a combining accent has no weight"


def test_the_tempo_is_that_of_the_prompt():
    assert characters.seconds("a" * 28) == pytest.approx(2.0)
    assert characters.seconds("a" * 28, "b" * 14, 2.0) == pytest.approx(4.0)


def test_short_texts_are_longer():
    assert characters.seconds("a" * 14) == pytest.approx(1.0)
    assert characters.seconds("abc") == pytest.approx((3 / 14) ** (1 / 3))
