"""From a written text to phones: the text front end of text-to-speech.

front_end = frontend.load("english")
speech = front_end("Dr. Lee paid $3.50.")
speech.text      # "doctor lee paid three dollars and fifty cents."
speech.phones()  # ["sil", "D_B", "AA_I", "K_I", "T_I", "ER_E", "L_B", ...]
speech.notes     # what is not spoken as it is written, and what was guessed
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Sequence

from uniwav_jax.errors import UserError
from uniwav_jax.text import english, espeak, pronounce
from uniwav_jax.text import phones as phones_lib
from uniwav_jax.text.lexicon import load as load_lexicon
from uniwav_jax.text.lexicon import without_stress
from uniwav_jax.text.pronounce import DICTIONARY, Pronunciation
from uniwav_jax.text.rewriting import MARKS, Note, with_marks
from uniwav_jax.text.spelling import Spelling
from uniwav_jax.text.textgrid import SILENCE

SENTENCE_ENDS = ".!?…"
TOKEN = re.compile(rf"(\[[^\]]*\]|\S+?)(?: ?([{MARKS}]))?(?=\s|$)")
FEWEST = 200  # words of a lexicon from which spelling is learned


@dataclasses.dataclass(frozen=True)
class Word:
    """A spoken word: phones with stress, where they come from, and the mark after it or ""."""

    text: str
    phones: tuple[str, ...]
    how: str
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Speech:
    """A text as words with phones; `notes` tell what is not spoken as it is written."""

    words: tuple[Word, ...]
    notes: tuple[Note, ...] = ()

    @property
    def text(self) -> str:
        """The words and marks."""
        return with_marks([part for word in self.words for part in (word.text, word.mark)])[0]

    def phones(self, *, stress: bool = False) -> list[str]:
        """Phones of all words with their positions, and silences.

        Args:
            stress: whether vowels of ARPAbet keep their stress digits.

        Returns:
            "K_B", "AE_I", "T_E" for the first, inner and last phones of a word, "AH_S" for a word
            of one phone; "sil" at the start, at marks, and at the end.
        """
        found = [SILENCE]
        for word in self.words:
            found += positioned(word.phones, stress=stress)
            if word.mark:
                found.append(SILENCE)
        return found if found[-1] == SILENCE else [*found, SILENCE]

    def sentences(self) -> "list[Speech]":
        """The sentences, each without notes."""
        found: list[list[Word]] = [[]]
        for word in self.words:
            found[-1].append(word)
            if word.mark and word.mark in SENTENCE_ENDS:
                found.append([])
        return [Speech(tuple(words)) for words in found if words]


def positioned(phones: Sequence[str], *, stress: bool = False) -> list[str]:
    """Phones of a word with the suffixes _B, _I and _E, or _S for a single one."""
    plain = list(phones) if stress else [without_stress(phone) for phone in phones]
    return phones_lib.in_word(plain)


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """A language: how its texts are normalised, and how a list of words is pronounced."""

    normalise: Callable[[str], english.SpokenText]
    pronounce: Callable[[Sequence[str]], list[Pronunciation]]

    def __call__(self, text: str) -> Speech:
        """Words with phones of a text.

        Raises:
            UserError: the text has no word that can be spoken, or wrong phones in brackets.
        """
        spoken = self.normalise(text)
        tokens = TOKEN.findall(spoken.text)
        pronounced = self.pronounce([word for word, _ in tokens])
        words, notes = [], list(spoken.notes)
        for (word, mark), found in zip(tokens, pronounced):
            if found.how not in (DICTIONARY, pronounce.LETTER, pronounce.AS_WRITTEN):
                notes.append(Note(word, " ".join(found.phones), found.how))
            if found.phones:
                words.append(Word(word, found.phones, found.how, mark))
        if not words:
            shown = text if len(text) < 60 else f"{text[:57]}..."
            reasons = "; ".join(dict.fromkeys(note.reason for note in notes))
            raise UserError(f"no word to speak in {shown!r}" + (f" ({reasons})" if reasons else ""))
        return Speech(tuple(words), tuple(notes))


@functools.cache
def load(language: str = "english") -> FrontEnd:
    """A front end, made once.

    Args:
        language: "english"; "espeak:VOICE", such as "espeak:de", for a voice of espeak-ng; or a
            lexicon file as `lexicon.load` reads it. Of a lexicon with enough words, the
            pronunciation of other words is learned.

    Raises:
        UserError: a package, the voice or the file is missing.
    """
    if language == "english":
        voice = pronounce.english()
        normalise = functools.partial(english.normalise, is_word=voice.is_word)
        return FrontEnd(normalise, voice.in_context)
    if language.startswith("espeak:"):
        say = functools.cache(espeak.voice(language.removeprefix("espeak:")))
        return FrontEnd(plain, lambda words: [Pronunciation(say(word), "espeak") for word in words])
    return FrontEnd(plain, _of_lexicon(load_lexicon(language, stress=True)))


def _of_lexicon(lexicon: dict[str, tuple[str, ...]]) -> Callable[..., list[Pronunciation]]:
    """Pronounce words of a lexicon; spelling is learned when the first other word comes."""

    @functools.cache
    def spelling() -> Callable[[str], tuple[str, ...]]:
        return Spelling.train(lexicon) if len(lexicon) >= FEWEST else lambda word: ()

    @functools.cache
    def one(word: str) -> Pronunciation:
        if word.startswith("["):
            return Pronunciation(tuple(word.strip("[]").split()), pronounce.AS_WRITTEN)
        if phones := lexicon.get(word):
            return Pronunciation(phones, DICTIONARY)
        phones = spelling()(word)
        return Pronunciation(phones, pronounce.GUESS if phones else "not in the lexicon")

    return lambda words: [one(word) for word in words]


def plain(text: str) -> english.SpokenText:
    """Words in lower case with marks; numbers and abbreviations stay as they are written.

    Other punctuation is left out, with a note.
    """
    cleaned, notes = english.clean(text)
    spoken: list[str] = []
    for token in re.findall(r"\[[^\[\]]*\]|\S+", unicodedata.normalize("NFC", cleaned)):
        if token.startswith("["):
            spoken.append(token)
            continue
        before, word, after = re.fullmatch(r"([^\w'-]*)(.*?)([\W_]*)", token).groups()
        spoken += [word.lower()] if word else []
        for character in before + after:
            if character in MARKS:
                spoken.append(character)
            else:
                notes.append(Note(character, "", "punctuation"))
    joined, about_marks = with_marks(spoken)
    return english.SpokenText(joined, (*notes, *about_marks))
