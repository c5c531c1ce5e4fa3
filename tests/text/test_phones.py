"""Symbols of speech synthesis: places in words, numbers, and TextGrids."""

import itertools

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import phones, textgrid


def test_places_in_a_word():
    assert phones.in_word(["AY1"]) == ["AY1_S"]
    assert phones.in_word(["DH", "AH0"]) == ["DH_B", "AH0_E"]
    assert phones.in_word("HH AH0 L OW1".split()) == ["HH_B", "AH0_I", "L_I", "OW1_E"]


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("AH0_B", ("AH", "0", "B")),
        ("sil", ("sil", "", "")),
        ("spn", ("spn", "", "")),
        ("T_E", ("T", "", "E")),
        ("a1_S", ("a1", "", "S")),  # a tone, or a phone of another alphabet
        ("t_h_B", ("t_h", "", "B")),
    ],
)
def test_symbols_are_split(symbol, parts):
    assert phones.split(symbol) == parts


def test_numbers_hold_phone_stress_and_place():
    vocabulary = phones.Vocabulary(["AH", "T", "sil"])
    symbols = ["AH0_B", "AH1_B", "AH0_E", "T_S", "sil"]
    numbers = np.array([vocabulary.number(symbol) for symbol in symbols])
    assert len(set(numbers)) == len(symbols)
    assert [vocabulary.symbol(int(number)) for number in numbers] == list(symbols)
    phone, stress, place = phones.parts(numbers)
    assert phone.tolist() == [0, 0, 0, 1, 2]
    assert stress.tolist() == [1, 2, 1, 0, 0]
    assert place.tolist() == [1, 1, 3, 4, 0]
    with pytest.raises(UserError, match="no phone ZH"):
        vocabulary.number("ZH_B")


def write(path, intervals, words):
    ends = {"phones": intervals, "words": words}
    textgrid.write(str(path), ends, intervals[-1][1])
    return str(path)


def test_places_come_from_the_words_of_a_textgrid(tmp_path):
    grid = write(
        tmp_path / "a.TextGrid",
        [
            *((0.0, 0.1, ""), (0.1, 0.2, "DH"), (0.2, 0.3, "AH0"), (0.3, 0.5, "AY1")),
            *((0.5, 0.6, "sp"), (0.6, 0.7, "sil"), (0.7, 0.8, "K"), (0.8, 0.9, "AE1")),
            *((0.9, 1.0, "T"), (1.0, 1.2, "spn"), (1.2, 1.3, "")),
        ],
        [(0.1, 0.3, "the"), (0.3, 0.5, "eye"), (0.7, 1.0, "cat"), (1.0, 1.2, "<unk>")],
    )
    found = phones.of_textgrid(grid)
    assert [symbol for *_, symbol in found] == (
        "sil DH_B AH0_E AY1_S sil K_B AE1_I T_E spn sil".split()
    )
    assert found[4][:2] == (0.5, 0.7), "silences in a row are one"
    for before, after in itertools.pairwise(found):
        assert before[1] == after[0]


def test_real_textgrids(librispeech):
    """Every word has one beginning and one end."""
    grids = sorted((librispeech / "alignments").glob("4088-158077-*.TextGrid"))[:5]
    for grid in grids:
        symbols = [symbol for *_, symbol in phones.of_textgrid(str(grid))]
        marked = [phones.split(symbol)[2] for symbol in symbols]
        words = [row for row in textgrid.tier(str(grid), "words") if row[2]]
        unknown = symbols.count(phones.NOISE)
        assert marked.count("S") + marked.count("B") == len(words) - unknown
        assert marked.count("B") == marked.count("E")
