"""Pronunciations learned from a lexicon."""

import itertools
import math

import pytest

from uniwav_jax.text import spelling
from uniwav_jax.text.spelling import Alignment, Spelling

# A language with one phone a letter, except for "x" of two, "sh" of one, and a final silent e.
SOUNDS = {"a": "AH0", "i": "IY0", "t": "T", "k": "K", "x": "K S", "m": "M"}


def lexicon():
    found = {}
    for letters in itertools.product("aitkxm", repeat=4):
        word = "".join(letters)
        phones = " ".join(SOUNDS[letter] for letter in word)
        found[word] = tuple(phones.split())
        found[word[:2] + "sh" + word[2:] + "e"] = (
            *" ".join(SOUNDS[x] for x in word[:2]).split(),
            "SH",
            *" ".join(SOUNDS[x] for x in word[2:]).split(),
        )
    return found


@pytest.fixture(scope="module")
def model():
    return Spelling.train({word: p for word, p in lexicon().items() if "tam" not in word})


def test_words_of_the_language_are_pronounced(model):
    assert model("tami") == ("T", "AH0", "M", "IY0")
    assert model("mashtame") == ("M", "AH0", "SH", "T", "AH0", "M")
    assert model("xixa") == ("K", "S", "IY0", "K", "S", "AH0")
    assert model("tamtamtamtamtamtam") == ("T", "AH0", "M") * 6


def test_unknown_letters_have_no_phones(model):
    assert model("qzt") == ("T",) and model("q") == () and model("") == ()


def test_probabilities_sum_to_one(model):
    symbols = [chr(spelling.FIRST + i) for i in range(len(model.pairs))] + [spelling.END]
    for history in (spelling.START, spelling.START + symbols[0], symbols[3] + symbols[1], "?"):
        total = sum(model.probabilities(history, symbols).values())
        assert math.isclose(total, 1.0, rel_tol=1e-9), history


def test_a_saved_model_is_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = Spelling.load(tmp_path / "model")
    assert (loaded.pairs, loaded.order) == (model.pairs, model.order)
    assert loaded.following == model.following
    model.save(tmp_path / "again")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()


def test_alignment_of_least_cost():
    counts = {("x", ("K", "S")): 3, ("a", ("A",)): 5, ("e", ()): 2, ("e", ("E",)): 2}
    pairs = Alignment(counts).pairs("axe", ("A", "K", "S"))
    assert pairs == [("a", ("A",)), ("x", ("K", "S")), ("e", ())]
    assert Alignment(counts).pairs("a", ("A", "B", "C")) is None


def test_one_primary_stress_is_preferred():
    assert [spelling.is_primary(p) for p in ("AH1", "AH0", "T", "B1")] == [
        True,
        False,
        False,
        False,
    ]
