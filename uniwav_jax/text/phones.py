"""Phones of speech synthesis: symbols with stress and their place in the word, and their numbers.

A symbol is a phone, an underscore and its place in its word: B at the beginning, I inside, E at the
end, S for a word of one phone. "AH0_B" is ARPAbet's AH without stress at the beginning of a word.
Silence is "sil", and "spn" is noise or a word that the aligner did not know. Each symbol is a
triple of numbers, of the phone, its stress and its place, so that combinations that training did
not have can be spoken too.
"""

import re
from collections.abc import Iterable, Sequence

from uniwav_jax.errors import UserError
from uniwav_jax.text import textgrid
from uniwav_jax.text.lexicon import without_stress

NOISE = "spn"
PLACES = ("", "B", "I", "E", "S")  # "" for silence and noise
STRESSES = ("", "0", "1", "2")  # "" for consonants and for other alphabets than ARPAbet
SYMBOL = re.compile(r"(.+)_([BIES])")
Interval = tuple[float, float, str]


def in_word(phones: Sequence[str]) -> list[str]:
    """The symbols of a word's phones."""
    if len(phones) == 1:
        return [f"{phones[0]}_S"]
    places = ["B", *"I" * (len(phones) - 2), "E"]
    return [f"{phone}_{place}" for phone, place in zip(phones, places)]


def split(symbol: str) -> tuple[str, str, str]:
    """(phone, stress, place) of a symbol: "AH0_B" gives ("AH", "0", "B")."""
    found = SYMBOL.fullmatch(symbol)
    phone, place = found.groups() if found else (symbol, "")
    plain = without_stress(phone)
    return plain, phone[len(plain) :], place


def of_textgrid(path: str) -> list[Interval]:
    """The phones of a TextGrid as (start, end, symbol) in seconds, from its start to its end.

    The place in the word is taken from the tier "words"; silences in a row are one.

    Raises:
        UserError: the file cannot be read, or it lacks a tier "phones" or "words".
    """
    phones = textgrid.tier(path, "phones")
    words = [row for row in textgrid.tier(path, "words") if not textgrid.is_silence(row[2])]
    found: list[Interval] = []
    number, inside = 0, 0  # the word, and the number of phones of it so far
    for place, (start, end, label) in enumerate(phones):
        middle = (start + end) / 2
        while number < len(words) and words[number][1] <= middle:
            number, inside = number + 1, 0
        if label.strip().lower() == NOISE:
            found.append((start, end, NOISE))
        elif textgrid.is_silence(label):
            if found and found[-1][2] == textgrid.SILENCE:
                start = found.pop()[0]
            found.append((start, end, textgrid.SILENCE))
        else:
            following = phones[place + 1] if place + 1 < len(phones) else None
            word = words[number] if number < len(words) and words[number][0] <= middle else None
            last = (
                word is None
                or following is None
                or textgrid.is_silence(following[2])
                or (following[0] + following[1]) / 2 >= word[1]
            )
            first = inside == 0 or word is None
            mark = {(True, True): "S", (True, False): "B", (False, True): "E"}
            found.append((start, end, f"{label}_{mark.get((first, last), 'I')}"))
            inside += 1
    return found


class Vocabulary:
    """Numbers of symbols.

    Args:
        phones: the phones without stress and place, in the order of their numbers.
    """

    def __init__(self, phones: Iterable[str]) -> None:
        self.phones = tuple(phones)
        self._numbers = {phone: number for number, phone in enumerate(self.phones)}

    def number(self, symbol: str) -> int:
        """One number that holds those of phone, stress and place; see `parts`.

        Raises:
            UserError: the model has not learned such a phone.
        """
        phone, stress, place = split(symbol)
        if phone not in self._numbers:
            raise UserError(
                f"the model has no phone {phone}; it has learned {' '.join(self.phones)}"
            )
        which = STRESSES.index(stress) if stress in STRESSES else 0
        return (self._numbers[phone] * len(STRESSES) + which) * len(PLACES) + PLACES.index(place)

    def symbol(self, number: int) -> str:
        """The symbol that `number` makes the number of."""
        phone, stress, place = parts(number)
        end = f"_{PLACES[place]}" if place else ""
        return f"{self.phones[phone]}{STRESSES[stress]}{end}"


def parts(numbers: object) -> tuple[object, object, object]:
    """(phone, stress, place) of numbers of symbols, an int or an integer array."""
    place = numbers % len(PLACES)
    stress = numbers // len(PLACES) % len(STRESSES)
    return numbers // (len(PLACES) * len(STRESSES)), stress, place
