"""Rewriting by rules, and punctuation as single marks."""

import re

from uniwav_jax.text import rewriting
from uniwav_jax.text.rewriting import Note, Rule


def never(word):
    return False


def test_first_rule_that_applies_wins_and_changes_are_noted():
    rules = (
        Rule("declined", re.compile(r"\d+"), lambda match, _: None),
        Rule("digit", re.compile(r"\d"), lambda match, _: "digit"),
        Rule("word", re.compile(r"[A-Za-z]+"), lambda match, _: match[0].lower()),
    )
    spoken, notes = rewriting.rewrite("Ab 12\u2603", rules, never)
    assert spoken == ["ab", "digit", "digit"]
    assert notes == [
        Note("1", "digit", "digit"),
        Note("2", "digit", "digit"),
        Note("\u2603", "", "no sound: snowman"),
    ]
    assert str(notes[0]) == "'1' -> 'digit' (digit)"


def test_strongest_of_several_marks_stays():
    text, notes = rewriting.with_marks([",", "a", ",", ".", "b", "?", "!", "c—", "d", "—"])
    assert text == "a. b! c — d —".replace("b!", "b?")
    assert [(n.source, n.reason) for n in notes] == [
        (",", "no word before it"),
        (",", "beside ."),
        ("!", "beside ?"),
    ]


def ends(text, **options):
    return rewriting.ends_sentence(re.search(r"\w+\.", text), **options)


def test_end_of_a_sentence_after_an_abbreviation():
    assert ends("Inc.") and ends("Inc.)") and ends('Inc." The end') and not ends("Inc. was")
    assert not ends("Inc. Boston") and ends("Inc. Boston", names_follow=False)
    assert not ends("Inc., The")


def test_words_around_a_match():
    match = re.search("X", 'he said ("Hello X, my friend')
    assert (rewriting.before(match), rewriting.after(match)) == ("Hello", "")
    match = re.search("X", "X friend's")
    assert (rewriting.before(match), rewriting.after(match)) == ("", "friend's")


def test_sentence_around_a_match():
    match = re.search("X", "No. A X b, c! Yes")
    assert rewriting.around(match) == " A X b, c"
    assert rewriting.around(match, reach=2) == "A X b"


def test_characters_without_a_name_have_a_number():
    assert rewriting.character_name("\ud800") == "u+d800"
    assert rewriting.character_name("é") == "latin small letter e with acute"
