"""English words of numbers: cardinals, ordinals, decimals, digits, years and fractions.

Numbers are given as the digits that a text has, because 007 and 1.50 are not 7 and 1.5. Words are
in lower case, separated by single spaces, without hyphens and without "and".
"""

from uniwav_jax.errors import UserError

LONGEST = 15  # digits; longer whole numbers are spelled digit by digit
DIGITS = "zero one two three four five six seven eight nine".split()


def _words(number: int, kind: str) -> str:
    try:
        from num2words import num2words
    except ImportError as error:
        raise UserError("numbers in a text need: pip install num2words") from error
    words = num2words(number, to=kind).replace("-", " ").replace(",", "")
    return words.replace(" and ", " ")


def cardinal(number: str) -> str:
    """Words of a whole number; one with a leading zero, or a very long one, digit by digit."""
    number = number.replace(",", "")
    if len(number) > LONGEST or (number[0] == "0" and len(number) > 1):
        return digits(number)
    return _words(int(number), "cardinal")


def ordinal(number: str) -> str:
    """Words of an ordinal number, given as a whole number: "twenty first" for 21."""
    return _words(int(number.replace(",", "")), "ordinal")


def digits(number: str) -> str:
    """Words of the digits, one by one; other characters are ignored."""
    return " ".join(DIGITS[int(digit)] for digit in number if digit.isdecimal())


def decimal(number: str) -> str:
    """Words of a number that may have a decimal point; digits after the point one by one."""
    whole, point, fraction = number.partition(".")
    words = [cardinal(whole)] if whole else []
    return " ".join([*words, *(["point", digits(fraction)] if point else [])])


def year(number: str) -> str:
    """Words of a year of four digits: "nineteen oh five", "two thousand seven", "twenty ten"."""
    century, rest = int(number[:2]), int(number[2:])
    if number[1:3] == "00":
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(str(century))} hundred"
    oh = "oh " if rest < 10 else ""
    return f"{cardinal(str(century))} {oh}{cardinal(str(rest))}"


def plural(words: str) -> str:
    """The plural of the last word of a number: "nineteen nineties", "sixes"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def fraction(numerator: str, denominator: str) -> str:
    """Words of a fraction: "one half", "three quarters", "two over thirty one"."""
    top, bottom = int(numerator), int(denominator)
    if bottom < 2 or (bottom > 20 and bottom not in (25, 30, 50, 64, 100, 1000)):
        return f"{cardinal(numerator)} over {cardinal(denominator)}"
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(denominator).removeprefix("one ")
    if top != 1:
        name = "halves" if bottom == 2 else name + "s"
    return f"{cardinal(numerator)} {name}"
