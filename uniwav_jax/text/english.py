"""Written English to spoken words: "Dr. Lee paid $3.50." is "doctor lee paid three dollars ..."."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable

from uniwav_jax.text import english_numbers, english_words
from uniwav_jax.text.rewriting import Note, character_name, rewrite, with_marks

RULES = (*english_words.FIRST_RULES, *english_numbers.RULES, *english_words.RULES)
# Characters whose compatibility form in Unicode means something else, and typographic ones.
CHARACTERS = {
    **dict.fromkeys("‘’‛ʼ´`′", "'"),
    **dict.fromkeys("“”„‟″", '"'),
    **{character: character for character in "²³™"},
    "№": "No. ",
    "⁄": "/",
    "∕": "/",
    "µ": "µ",
    "μ": "µ",
    "￥": "¥",
}
PARAGRAPH = re.compile(r"(?<=\w)[ \t]*\n\s*\n")  # after a word
# What the rules leave: words, single capital letters (perhaps with 's), or phones in brackets.
SPOKEN_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|[A-Z](?:'s)?|\[[A-Z0-9 ]+\]")


@dataclasses.dataclass(frozen=True)
class SpokenText:
    """A text as it is spoken.

    `text` has words in lower case; letters to be spelled as single capitals ("F B I", "C D's");
    phones in brackets as they were; and the marks , ; : . ? ! … after a word, or a dash " —".
    `notes` tell about each part that is not spoken as it is written.
    """

    text: str
    notes: tuple[Note, ...]


def normalise(text: str, *, is_word: Callable[[str], bool] = lambda word: False) -> SpokenText:
    """The spoken form of an English text.

    Args:
        text: any text in Unicode.
        is_word: tells whether a word in lower case is in the dictionary. Words in capitals are
            spelled, and CamelCase is split, if it is not.

    Raises:
        UserError: phones in brackets are no phones of ARPAbet.
    """
    cleaned, notes = clean(text)
    spoken, more = rewrite(cleaned, RULES, is_word)
    joined, about_marks = with_marks(spoken)
    return SpokenText(joined, (*notes, *more, *about_marks))


def clean(text: str) -> tuple[str, list[Note]]:
    """Unify characters that look alike or are compositions, with notes on those that change.

    A paragraph without punctuation at its end gets a period. Digits of any script become ASCII
    digits. Invisible characters are left out.
    """
    cleaned = []
    text, paragraphs = PARAGRAPH.subn(".\n\n", text)
    notes = [Note("paragraph", ".", "a paragraph ends a sentence")] * paragraphs
    for character in unicodedata.normalize("NFC", text):
        if character.isspace():
            new = " "
        elif unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            new = ""
        elif character in CHARACTERS:
            new = CHARACTERS[character]
        elif character.isdecimal():
            new = str(unicodedata.decimal(character))
        else:
            new = unicodedata.normalize("NFKC", character)
            if "⁄" in new:  # a fraction such as ½, which may follow a whole number
                new = " " + new.replace("⁄", "/")
            elif new.startswith(" "):  # a spacing accent
                new = ""
        if not new:
            notes.append(Note(character_name(character), "", "invisible character or accent"))
        elif new != character and (character.isalnum() or len(new) > 1) and new != "...":
            notes.append(Note(character, new.strip(), "compatibility form"))
        cleaned.append(new)
    return "".join(cleaned), notes
