"""Rules for words: cases beside the table of test_english."""

import pytest

from uniwav_jax.text import english, english_words

pytest.importorskip("num2words", reason="extra speak")
WORDS = {"stop", "us", "it", "go", "now", "youtube", "play", "station"}


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Go NOW, STOP!", "go now, stop!"),
        ("GO IT ALONE", "go it alone"),
        ("the US.", "the U S."),
        ("YouTube", "youtube"),
        ("PlayStation", "play station"),
        ("McDonald O'Brien", "mcdonald o'brien"),
        ("the NFL's", "the N F L's"),
        ("a DJ and two DJs", "a D J and two D J's"),
        ("plan A. Then", "plan A. then"),
        ("Mr Smith", "mister smith"),
        ("St", "S T"),
        ("No. We said no.", "no. we said no."),
        ("mix 5 ml", "mix five milliliters"),
        ("I and II", "i and I I"),
        ("Vitamin C", "vitamin C"),
        ("Roe v. Wade", "roe versus wade"),
        ("a\u0301b \u00df", "ab S S"),
        ("e\u0301t\u00e9", "ete"),
        ("#", "hash"),
        ("a_b", "a B"),
        ("**bold**", "bold"),
        ("hello.World", "hello. world"),
        ("a@b.co", "A at B dot C O"),
    ],
)
def test_words(written, spoken):
    found = english.normalise(written, is_word=WORDS.__contains__).text
    assert found == spoken


def test_roman_numerals():
    values = {"IV": 4, "XIX": 19, "MCMXCIV": 1994, "IIII": 0, "VX": 0, "": 0}
    assert {word: english_words.roman_value(word) for word in values} == values


def test_phones_of_arpabet():
    assert all(map(english_words.is_phone, ("AA", "AA0", "ZH", "ER2")))
    assert not any(map(english_words.is_phone, ("AA3", "B1", "XX", "", "1", "aa")))


def test_letters_without_accents():
    assert english_words.plain_letters("Smørbrød") == "smorbrod"
    assert english_words.plain_letters("Д") == ""
    assert english_words.spelled("éa") == "E A"
