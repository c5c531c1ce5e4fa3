"""Rewriting a text from left to right by a list of rules, with a note on every change."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from uniwav_jax.text.english_tables import STARTERS

MARKS = ",—;:….!?"  # from the weakest pause; what text has after rewriting, beside words


@dataclasses.dataclass(frozen=True)
class Note:
    """A part of a text that is not spoken as it is written; `spoken` is "" if it has no sound."""

    source: str
    spoken: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source!r} -> {self.spoken!r} ({self.reason})"


class Rule(NamedTuple):
    """What a pattern is called, the pattern, and the words for a match.

    `speak(match, is_word)` returns words and marks, or None if the rule does not apply after all;
    `is_word` tells whether a word in lower case is in the dictionary.
    """

    reason: str
    pattern: re.Pattern[str]
    speak: Callable[[re.Match[str], Callable[[str], bool]], str | None]


def rewrite(
    text: str, rules: Sequence[Rule], is_word: Callable[[str], bool]
) -> tuple[list[str], list[Note]]:
    """Apply at each place the first rule that matches there, and continue behind its match.

    A character that no rule takes is left out, with a note.

    Returns:
        what is spoken, and a note on each part whose words differ from the text in lower case.
    """
    place, spoken, notes = 0, [], []
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        end, words, reason = place + 1, "", f"no sound: {character_name(text[place])}"
        for rule in rules:
            match = rule.pattern.match(text, place)
            words_of_rule = rule.speak(match, is_word) if match and match.end() > place else None
            if words_of_rule is not None:
                end, words, reason = match.end(), words_of_rule, rule.reason
                break
        source = text[place:end]
        if words != source and words.lower() != source.lower():
            notes.append(Note(source, words, reason))
        if words:
            spoken.append(words)
        place = end
    return spoken, notes


def character_name(character: str) -> str:
    """The name of a character in Unicode, in lower case, or its number."""
    return unicodedata.name(character, f"U+{ord(character):04X}").lower()


def before(match: re.Match[str]) -> str:
    """The last word before a match, without brackets and quotes before it; "" at the start."""
    found = re.search(r"(\S+)\s*$", match.string[max(0, match.start() - 60) : match.start()])
    return found[1].lstrip("([{\"'") if found else ""


def after(match: re.Match[str]) -> str:
    """The first word after a match, without punctuation; "" if something else follows."""
    found = re.match(r"\s+([^\W\d_][\w']*)", match.string[match.end() : match.end() + 60])
    return found[1] if found else ""


def around(match: re.Match[str], *, reach: int = 300) -> str:
    """The text between the punctuation before and after a match, at most `reach` on each side."""
    left = match.string[max(0, match.start() - reach) : match.start()]
    right = match.string[match.end() : match.end() + reach]
    return re.split(r"[.!?]", left)[-1] + match[0] + re.split(r"[.!?]", right)[0]


def ends_sentence(match: re.Match[str], *, names_follow: bool = True) -> bool:
    """Whether the period at the end of an abbreviation also ends the sentence.

    Args:
        match: the abbreviation with its period.
        names_follow: True if a name may follow, so that only words of the table `STARTERS` begin a
            sentence; else any capital letter does.
    """
    rest = match.string[match.end() :]
    if re.fullmatch(r"[\s\"')\]}]*", rest):
        return True
    found = re.match(r"[\"')\]}]*\s+[\"'(\[{]*([^\W\d_]+)", rest)
    if not found or not found[1][0].isupper():
        return False
    return not names_follow or found[1].lower() in STARTERS


def with_marks(spoken: Sequence[str]) -> tuple[str, list[Note]]:
    """Words and marks as one text, in which the strongest of several marks in a row stays.

    Returns:
        the text, in which marks follow a word directly, and a dash after a space; and a note on
        each mark that is left out, because of another one or because no word is before it.
    """
    tokens: list[str] = []
    notes: list[Note] = []
    for token in " ".join(spoken).split():
        word = token.rstrip(MARKS)
        if word:
            tokens.append(word)
        for mark in token[len(word) :]:
            if not tokens:
                notes.append(Note(mark, "", "no word before it"))
            elif tokens[-1] in MARKS:
                weaker, tokens[-1] = sorted((tokens[-1], mark), key=MARKS.index)
                notes.append(Note(weaker, "", f"beside {tokens[-1]}"))
            else:
                tokens.append(mark)
    return re.sub(r" ([,;:….!?])", r"\1", " ".join(tokens)), notes
