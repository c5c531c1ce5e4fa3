"""Texts as they are spoken."""

from uniwav_jax.text import spoken


def test_punctuation_and_case_are_removed_and_apostrophes_kept():
    assert spoken.normalise(" It\u2019s  'Mr. Smith's' - well-known!") == (
        "it's mister smith's well known"
    )
    assert spoken.normalise("...") == ""


def test_numbers_are_spelled():
    assert spoken.normalise("There are 10 men, 1,250,042 ants") == (
        "there are ten men one million two hundred fifty thousand forty two ants"
    )
    assert spoken.number("0") == "zero" and spoken.number("90") == "ninety"
    assert spoken.number("111") == "one hundred eleven"
    assert spoken.number("1" * 13) == " ".join(["one"] * 13)
