"""Bit rates of clips: what a book could express, what its codes need, and what files take."""

import math

import numpy as np

from uniwav_jax.measures import information
from uniwav_jax.tokens.value import Tokens


class Tally:
    """Counts over clips with the same books and frame rate.

    Attributes:
        clips: number of clips.
        seconds: of their audio.
        frames: of their codes.
        prompt_bytes: of all prompts, as float16.
        file_bytes: of the clips' files, which the caller counts.
        counts: occurrences of each codeword in undamaged frames, int64 [codewords] of each book.
    """

    def __init__(self) -> None:
        self.clips, self.seconds, self.frames = 0, 0.0, 0
        self.prompt_bytes, self.file_bytes = 0, 0
        self.counts: list[np.ndarray] = []
        self._runs: list[list[np.ndarray]] = []  # of each book: counts of runs' codes and lengths
        self._frame_rate, self._payload = 0.0, 0.0

    def add(self, tokens: Tokens) -> None:
        """Count one clip."""
        if not self.counts:
            self.counts = [np.zeros(0, np.int64) for _ in tokens.book_sizes]
            self._runs = [[np.zeros(0, np.int64)] * 2 for _ in tokens.book_sizes]
            self._frame_rate, self._payload = tokens.frame_rate, tokens.bits_per_second
        self.clips += 1
        self.seconds += tokens.duration
        self.frames += len(tokens.codes)
        self.prompt_bytes += tokens.prompt_bits // 8
        for book, size in enumerate(tokens.book_sizes):
            codes = tokens.codes[~tokens.damaged[:, book], book]
            self.counts[book] = _sum(self.counts[book], np.bincount(codes, minlength=size))
            self._runs[book] = [
                _sum(old, np.bincount(values))
                for old, values in zip(self._runs[book], information.runs(codes), strict=True)
            ]

    @property
    def payload(self) -> float:
        """Bit/s: frame rate times the sum of log2 of the book sizes."""
        return self._payload

    @property
    def entropy(self) -> float:
        """Bit/s if each code takes as many bits as its frequency in these clips allows.

        An arithmetic coder reaches it, apart from the tables that it must store too.
        """
        return self._frame_rate * sum(map(information.entropy, self.counts)) / math.log(2)

    @property
    def run_entropy(self) -> float:
        """Bit/s if each run of equal codes takes a symbol for its code and one for its length.

        Both take as many bits as their frequencies in these clips allow.
        """
        nats = 0.0
        for counts, symbols in zip(self.counts, self._runs, strict=True):
            runs_per_frame = symbols[0].sum() / max(counts.sum(), 1)
            nats += runs_per_frame * sum(map(information.entropy, symbols))
        return self._frame_rate * nats / math.log(2)


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of two counts, of which the shorter has zeros at its end."""
    size = max(len(a), len(b))
    return np.pad(a, (0, size - len(a))) + np.pad(b, (0, size - len(b)))
