"""Rules for numbers: cases beside the table of test_english."""

import pytest

from uniwav_jax.text import english

pytest.importorskip("num2words", reason="extra speak")


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("13/13/2020", "thirteen slash thirteen over two thousand twenty"),
        ("2020-13-45", "twenty twenty to thirteen to forty five"),
        ("99/12/31", None),
        ("12/31/99", "december thirty first, nineteen ninety nine"),
        ("25:99", "twenty five to ninety nine"),
        ("1/0", "one slash zero"),
        ("the 3 March 1999", "the third of march nineteen ninety nine"),
        ("March 45", "march forty five"),
        ("$0", "zero dollars"),
        ("$0.05", "five cents"),
        ("£0.01", "one penny"),
        ("$1.5", "one point five dollars"),
        ("$1.50 million", "one point five zero million dollars"),
        ("€-5", "euros minus five"),
        ("5 million €", "five million euros"),
        ("12 a.m. Monday", "twelve A M monday"),
        ("at 5 p.m. She left", "at five P M. she left"),
        ("00:30", "zero thirty"),
        ("1 lb", "one pound"),
        ("-1 °C", "minus one degree celsius"),
        ("5 s.", "five seconds."),
        ("7 min. later", "seven minutes later"),
        ("3x", "three times"),
        ("10,5", "ten, five"),
        ("1,23", "one, twenty three"),
        ("3.5.", "three point five."),
        ("5--6", "five — six"),
        ("x-5", "X five"),
        ("(-5)", "minus five,"),
        ("1st-3rd", "first third"),
        ("1999's", "nineteen ninety nine's"),
        ("\u0663 cats", "three cats"),
    ],
)
def test_numbers(written, spoken):
    found = english.normalise(written).text
    assert found == spoken or (spoken is None and found)


def test_decimal_point_is_never_lost():
    for whole in ("0", "3", "12", "1,234", ""):
        for after in (" ", " km", "%", "GHz", " million", ".", "?", ")"):
            assert "point five" in english.normalise(f"It is {whole}.5{after}").text
