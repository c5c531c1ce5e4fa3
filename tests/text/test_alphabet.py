"""Alphabets, and texts with other symbols."""

import numpy as np
import pytest

from uniwav_jax.config import TextConfig
from uniwav_jax.text import alphabet

LETTERS = TextConfig(symbols=tuple("'abcdefghijklmnopqrstuvwxyz|"))
PHONES = TextConfig(symbols=("AH", "K", "T"), units="tokens", lowercase=False)


def test_text_is_encoded_and_decoded():
    vocabulary = alphabet.Vocabulary(LETTERS)
    tokens = vocabulary.encode("  It's  A\tcat ")
    assert vocabulary.decode(tokens) == "it's a cat" and len(vocabulary) == 29
    assert 0 not in tokens
    assert (
        alphabet.Vocabulary(PHONES).decode(alphabet.Vocabulary(PHONES).encode("K AH T")) == "K AH T"
    )


def test_unknown_symbols_are_named():
    with pytest.raises(alphabet.UnknownSymbolError, match="1 é"):
        alphabet.Vocabulary(LETTERS).encode("café 1")
    assert alphabet.Vocabulary(LETTERS).count("café") == -1
    assert alphabet.Vocabulary(LETTERS).count("cafe au") == 7


def test_characters_are_normalised():
    """The letter e with a combining accent is encoded as é."""
    config = TextConfig(symbols=("é",))
    assert alphabet.Vocabulary(config).encode("e\u0301E\u0301") == [1, 1]


def test_collapse():
    assert alphabet.collapse(np.array([0, 1, 1, 0, 1, 2, 2, 0])) == [1, 1, 2]
    assert alphabet.collapse(np.array([0, 0])) == []


def test_words_become_phones(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text("cat  K AE1 T\nthe  DH AH0\n")
    config = TextConfig(units="tokens", lexicon=str(path))
    assert alphabet.units("The cat", config) == ["DH", "AH", "K", "AE", "T"]
    assert alphabet.units("the dog", config) == ["DH", "AH", "dog"]
