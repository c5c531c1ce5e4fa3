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


def test_years_and_ordinals_are_spelled():
    """Whisper writes them with digits; a reference has the words."""
    assert spoken.normalise("March 3rd, 1847.") == "march third eighteen forty seven"
    assert spoken.normalise("In 1900, in 1905") == "in nineteen hundred in nineteen oh five"
    assert spoken.normalise("1,847 men") == "one thousand eight hundred forty seven men"
    assert spoken.normalise("the 21st and 12th, 20th") == "the twenty first and twelfth twentieth"
    assert spoken.normalise("1998th 1st 2nd 100th") == (
        "one thousand nine hundred ninety eighth first second one hundredth"
    )
    assert spoken.normalise("2019") == "two thousand nineteen"
