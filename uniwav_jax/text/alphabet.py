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

from uniwav_jax.config import AsrConfig, Config
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.errors import UserError
from uniwav_jax.text import lexicon

SPACE = "|"


class UnknownSymbolError(ValueError):
    """The text holds something that the alphabet does not."""


def normalize(text: str, config: AsrConfig) -> str:
    """NFC, single spaces, lower case where `asr.lowercase`."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.lower() if config.lowercase else text


def units(text: str, config: AsrConfig) -> list[str] | str:
    """The symbols of a text, in order; a word that is not in the lexicon stays a word."""
    text = normalize(text, config)
    if config.units == "letters":
        return text.replace(" ", SPACE)
    if not config.lexicon:
        return text.split()
    return [phone for word in text.split() for phone in pronounce(word, config)]


def pronounce(word: str, config: AsrConfig) -> tuple[str, ...]:
    """Phones of a word by the lexicon; the word itself if it has none."""
    return lexicon.load(config.lexicon).get(word.lower(), (word,))


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Symbols of a configuration; `len` counts the blank too."""

    config: AsrConfig

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


def collapse(path_T: np.ndarray) -> list[int]:
    """Tokens of a frame-wise path: repetitions merged, then blanks left out."""
    path_T = np.asarray(path_T)
    changed = np.diff(path_T, prepend=-1) != 0
    return [int(token) for token in path_T[changed] if token]


def with_alphabet(config: Config, cache: str) -> Config:
    """The configuration with `asr.symbols`: as given, or all symbols of the training text, sorted.

    Raises:
        UserError: no clip has text.
    """
    if config.task != "asr" or config.asr.symbols:
        return config
    symbols: set[str] = set()
    for source in config.data.manifest.split(","):
        corpus = manifest_lib.load(source.strip(), cache=cache)
        for row in range(len(corpus)):
            symbols.update(units(corpus.label(row, "text"), config.asr))
    if config.asr.lexicon:  # its phones, and no words that are not in it
        symbols &= {p for phones in lexicon.load(config.asr.lexicon).values() for p in phones}
    if not symbols:
        raise UserError(
            f"{config.data.manifest}: no clip has text; recognition learns from a column 'text' in"
            " the manifest ('uniwav data manifest' reads LibriSpeech's transcripts)"
        )
    return dataclasses.replace(
        config, asr=dataclasses.replace(config.asr, symbols=tuple(sorted(symbols)))
    )


def token_counts(corpus: manifest_lib.Manifest, config: AsrConfig) -> np.ndarray:
    """Tokens of each clip's text, int64 [N]: 0 without text, -1 with symbols that are unknown."""
    vocabulary = Vocabulary(config)
    counts = (vocabulary.count(corpus.label(row, "text")) for row in range(len(corpus)))
    return np.fromiter(counts, np.int64, len(corpus))
