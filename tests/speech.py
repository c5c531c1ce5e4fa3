"""Real speech for the tests: the recorded English prompts that the quickstart trains on.

They have one voice at 16 kHz. Their packages are downloaded once per machine, into the user's cache
folder.
"""

import fcntl
import os
import pathlib
import subprocess

import numpy as np
import pytest
import soundfile

from tests.conftest import REPOSITORY
from uniwav_jax.data import convert
from uniwav_jax.text import textgrid

RATE = 16000
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "uniwav_jax"
# Sentences of at least four seconds, longest first.
SENTENCES = """
    demo-congrats basic-pbx-ivr-main demo-echotest demo-abouttotry demo-moreinfo
    confbridge-mute-extended demo-nogo tt-allbusy queue-periodic-announce vm-record-prepend
    confbridge-lock-extended vm-newuser vm-invalid-password agent-alreadyon vm-rec-temp
""".split()
DIGITS = {  # pronunciations in ARPAbet, with stress marks as in TextGrids of forced aligners
    "zero": "Z IH1 R OW0",
    "one": "W AH1 N",
    "two": "T UW1",
    "three": "TH R IY1",
    "four": "F AO1 R",
    "five": "F AY1 V",
    "six": "S IH1 K S",
    "seven": "S EH1 V AH0 N",
    "eight": "EY1 T",
    "nine": "N AY1 N",
}


class Prompts:
    """The prompts by name; `folder` receives the converted files."""

    sentences = SENTENCES

    def __init__(self, folder: pathlib.Path) -> None:
        """Download the packages unless they are in the cache; skip the test if that fails."""
        self.folder = folder
        unpacked = CACHE / "prompts"
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(CACHE / "prompts.lock", "w") as lock:  # for one worker of pytest-xdist at a time
            fcntl.flock(lock, fcntl.LOCK_EX)
            command = ["bash", str(REPOSITORY / "launch" / "prompts.sh"), str(unpacked)]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no real speech: {done.stderr.strip().splitlines()[-1]}")
        (self.sounds,) = (unpacked / "usr/share/asterisk/sounds").iterdir()
        (texts,) = unpacked.glob("usr/share/doc/*/core-sounds-en.txt.gz")
        self.texts: dict[str, str] = convert.read_prompts(str(texts))

    def read(self, name: str) -> np.ndarray:
        """The samples of a prompt, int16 [S]."""
        target = self.folder / f"{name}.flac"
        if not target.exists():
            convert.convert(self.sounds / f"{name}.g722", target)
        return soundfile.read(target, dtype="int16")[0]

    def speech(self, samples: int) -> np.ndarray:
        """The sentences one after another, int16 [samples]."""
        whole = np.concatenate([self.read(name) for name in SENTENCES])
        return np.tile(whole, -(-samples // len(whole)))[:samples]

    def short(self, count: int) -> list[tuple[np.ndarray, str]]:
        """Samples and text of the shortest prompts of three words or more."""
        phrases = [name for name, text in self.texts.items() if len(text.split()) >= 3]
        sizes = {n: p.stat().st_size for n in phrases if (p := self.sounds / f"{n}.g722").exists()}
        names = sorted(sizes, key=lambda name: (sizes[name], name))[:count]
        return [(self.read(name), self.texts[name]) for name in names]

    def digits(self, numbers: str, path: pathlib.Path) -> None:
        """Spoken digits with pauses of 0.3 s, as a FLAC file and a TextGrid beside it.

        Words begin and end where the recording of the digit exceeds -45 dBFS. The phones of a word
        have equal lengths, which is accurate enough for tests.
        """
        audio, words, phones = [np.zeros(0, np.int16)], [], []
        for number in numbers:
            digit = self.read(f"digits/{number}")
            blocks = digit[: len(digit) // 320 * 320].reshape(-1, 320) / 32768.0
            (loud,) = np.nonzero(np.square(blocks).mean(1) > 10**-4.5)
            (word, spelled), begin = list(DIGITS.items())[int(number)], sum(map(len, audio)) / RATE
            start, end = begin + loud[0] * 0.02, begin + (loud[-1] + 1) * 0.02
            words.append((start, end, word))
            labels = spelled.split()
            edges = np.linspace(start, end, len(labels) + 1)
            phones += zip(edges, edges[1:], labels)
            audio += [digit, np.zeros(RATE * 3 // 10, np.int16)]
        audio = np.concatenate(audio)
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        tiers = {"words": words, "phones": [(float(a), float(b), c) for a, b, c in phones]}
        textgrid.write(str(path.with_suffix(".TextGrid")), tiers, len(audio) / RATE)
