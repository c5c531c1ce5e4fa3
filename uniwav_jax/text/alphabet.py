"""Text to tokens and back: the alphabet of a recogniser.

Token 0 is CTC's blank, token i is `symbols[i - 1]`. Units are letters, any Unicode characters after
normalisation, a space written as "|"; or "tokens", whatever stands between spaces; or the phones
that a lexicon has for the words.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Iterable

import numpy as np

from uniwav_jax.config import TextConfig
from uniwav_jax.text import lexicon

SPACE = "|"


class UnknownSymbolError(ValueError):
    """The text holds something that the alphabet does not."""


def normalize(text: str, config: TextConfig) -> str:
    """NFC, single spaces, lower case where `text.lowercase`."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.lower() if config.lowercase else text


def units(text: str, config: TextConfig) -> list[str] | str:
    """The symbols of a text, in order; a word that is not in the lexicon stays a word."""
    text = normalize(text, config)
    if config.units == "letters":
        return text.replace(" ", SPACE)
    if not config.lexicon:
        return text.split()
    return [phone for word in text.split() for phone in pronounce(word, config)]


def pronounce(word: str, config: TextConfig) -> tuple[str, ...]:
    """Phones of a word by the lexicon; the word itself if it has none."""
    return lexicon.load(config.lexicon).get(word.lower(), (word,))


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Symbols of a configuration; `len` counts the blank too."""

    config: TextConfig

    def __len__(self) -> int:
        return len(self.config.symbols) + 1

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.config.symbols, start=1)}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text.

        Raises:
            UnknownSymbolError: names the symbols that are not in the alphabet.
        """
        symbols = units(text, self.config)
        if unknown := sorted(set(symbols) - self._numbers.keys()):
            raise UnknownSymbolError(f"not in the alphabet: {' '.join(unknown)}")
        return [self._numbers[symbol] for symbol in symbols]

    def count(self, text: str) -> int:
        """Number of tokens; -1 where `encode` would raise."""
        symbols = units(text, self.config)
        return -1 if set(symbols) - self._numbers.keys() else len(symbols)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of tokens without blanks."""
        symbols = [self.config.symbols[token - 1] for token in tokens]
        if self.config.units == "tokens":
            return " ".join(symbols)
        return " ".join("".join(symbols).replace(SPACE, " ").split())


@functools.cache
def vocabulary(config: TextConfig) -> Vocabulary:
    """The vocabulary of a configuration, made once."""
    return Vocabulary(config)


def collapse(path_T: np.ndarray) -> list[int]:
    """Tokens of a frame-wise path: repetitions merged, then blanks left out."""
    path_T = np.asarray(path_T)
    changed = np.diff(path_T, prepend=-1) != 0
    return [int(token) for token in path_T[changed] if token]
