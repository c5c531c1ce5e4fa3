"""English words of numbers."""

import builtins

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import number_words

needs_library = pytest.importorskip("num2words", reason="extra speak")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("0", "zero"),
        ("105", "one hundred five"),
        ("1,234", "one thousand two hundred thirty four"),
        ("007", "zero zero seven"),
        ("1" * 16, " ".join(["one"] * 16)),
    ],
)
def test_cardinals(number, words):
    assert number_words.cardinal(number) == words


def test_cardinals_and_ordinals_agree_with_another_implementation():
    """uniwav_jax.text.spoken has its own words for whole numbers."""
    from uniwav_jax.text import spoken

    for number in [*range(130), 999, 1000, 1001, 12345, 10**6 + 1, 10**9, 987654321]:
        assert number_words.cardinal(str(number)) == spoken.number(str(number))
    assert number_words.ordinal("21") == "twenty first"
    assert number_words.ordinal("100") == "one hundredth"
    assert number_words.ordinal("1,012") == "one thousand twelfth"


def test_decimals_keep_their_point_and_zeros():
    assert number_words.decimal("3.50") == "three point five zero"
    assert number_words.decimal(".05") == "point zero five"
    assert number_words.decimal("12") == "twelve"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("1905", "nineteen oh five"),
        ("2007", "two thousand seven"),
        ("2010", "twenty ten"),
        ("1900", "nineteen hundred"),
        ("2000", "two thousand"),
        ("1066", "ten sixty six"),
    ],
)
def test_years(number, words):
    assert number_words.year(number) == words


def test_fractions_and_plurals():
    assert number_words.fraction("1", "2") == "one half"
    assert number_words.fraction("5", "2") == "five halves"
    assert number_words.fraction("3", "4") == "three quarters"
    assert number_words.fraction("5", "100") == "five hundredths"
    assert number_words.fraction("5", "31") == "five over thirty one"
    assert [number_words.plural(w) for w in ("ninety", "six", "two")] == [
        "nineties",
        "sixes",
        "twos",
    ]


def test_missing_library_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **options):
        if name == "num2words":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="pip install num2words"):
        number_words.cardinal("5")
