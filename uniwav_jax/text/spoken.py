"""Texts as they are spoken, to compare a transcript with a recogniser's text."""

import re

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
LARGE = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
# Abbreviations that Whisper writes and the transcripts of LibriSpeech spell out.
WRITTEN = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def normalise(text: str) -> str:
    """Lower-case English words, separated by single spaces, without punctuation.

    Letters, digits and the apostrophe within a word are kept; other characters separate words.
    Whole numbers below a trillion become words, those of 1100 to 1999 without a comma as years, as
    do ordinals such as 21st; mr, mrs and dr are spelled out.
    """
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"(?<![\w,.])1[1-9]\d\d(?![\w]|,\d)", lambda year: _year(year[0]), text)
    text = re.sub(r"(?<![\w,.])(\d+)(st|nd|rd|th)\b", lambda found: _ordinal(found[1]), text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
    return " ".join(number(word) if word.isdecimal() else WRITTEN.get(word, word) for word in words)


def number(digits: str) -> str:
    """English words of a whole number; larger ones than a trillion are spelled by digits."""
    value = int(digits)
    if value >= 10**12:
        return " ".join(ONES[int(digit)] for digit in digits)
    if value < 20:
        return ONES[value]
    if value < 100:
        return " ".join([TENS[value // 10 - 2], *([ONES[value % 10]] if value % 10 else [])])
    size, name = next(pair for pair in LARGE if value >= pair[0])
    rest = [number(str(value % size))] if value % size else []
    return " ".join([number(str(value // size)), name, *rest])


def _year(digits: str) -> str:
    first, last = number(digits[:2]), int(digits[2:])
    if last == 0:
        return f"{first} hundred"
    return f"{first} {'oh ' if last < 10 else ''}{number(digits[2:])}"


def _ordinal(digits: str) -> str:
    *words, last = number(digits).split()
    if last in ORDINALS:
        last = ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*words, last])
