"""Recognition of audio of any length: posteriors (inference/windowed.py), decoding, word times.

Greedy decoding needs no other package. Beam search, with an n-gram model in ARPA or kenlm's binary
format, is done by pyctcdecode.
"""

import gzip
import itertools
import mmap
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

import jax
import numpy as np

from uniwav_jax import tasks
from uniwav_jax.config import Config
from uniwav_jax.data import language_model
from uniwav_jax.errors import UserError
from uniwav_jax.inference import windowed
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE, Word
from uniwav_jax.text import alphabet
from uniwav_jax.types import PyTree

BINARY = b"mmap lm http://kheafield.com/code"  # first bytes of kenlm's binary format
ARPA_HEAD = 4096  # characters of a file in which an ARPA file has its first heading


class Recognizer(windowed.WindowedModel):
    """A model that recognises; `run` gives float32 log-probabilities [T, V], the blank first.

    Args:
        config: configuration of the run, with its alphabet of V symbols.
        arrays: {"params": {"encoder", "ctc"}, "features"}.
        options: of `windowed.WindowedModel`.
    """

    def __init__(self, config: Config, arrays: PyTree, **options: Any) -> None:
        super().__init__(config, arrays, **options)
        self._logits = tasks.get(config.task).logits
        self.vocabulary = alphabet.vocabulary(config.text)

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> jax.Array:
        """Log-probabilities of the blank and the symbols, float32 [B, T, V]."""
        return jax.nn.log_softmax(self._logits(params, x_BxTxC, frames_B, self.config))

    def greedy(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the most probable symbol of each frame, of float32 [T, V + 1].

        A word lasts from the first frame of its first symbol to the last frame of its last symbol.
        """
        path_T = log_probs_TxV.argmax(-1)
        starts = np.flatnonzero(np.diff(path_T, prepend=-1))
        ends = np.append(starts[1:], len(path_T))
        tokens = [(int(path_T[a]), int(a), int(b)) for a, b in zip(starts, ends) if path_T[a]]
        return self.words(tokens)

    def words(self, tokens: Iterable[tuple[int, int, int]]) -> list[Word]:
        """Words of tokens given as (token, first frame, end frame)."""
        units, symbols = self.config.text.units, self.config.text.symbols
        groups: list[list[tuple[str, int, int]]] = [[]]
        for token, start, end in tokens:
            symbol = symbols[token - 1]
            if units == "tokens":
                groups.append([(symbol, start, end)])
            elif symbol == alphabet.SPACE:
                groups.append([])
            else:
                groups[-1].append((symbol, start, end))
        rate = self.frame_rate
        return [
            Word("".join(s for s, *_ in group), group[0][1] / rate, group[-1][2] / rate)
            for group in groups
            if group
        ]


def known_words(model: pathlib.Path) -> list[str] | None:
    """Words of an ARPA file or of kenlm's binary; None where it has none and no list beside it.

    The content says whether a file is ARPA, plain or compressed by gzip. pyctcdecode 0.5.0 goes by
    the name and reads no words of lm.ARPA and lm.arpa.gz; and in lm.arpa it takes a word without a
    back-off weight for an unknown one, although words that begin no longer n-gram may have none.
    """
    listed = pathlib.Path(f"{model}{language_model.WORDS}")
    if listed.is_file():
        return listed.read_text(encoding="utf-8").split()
    words = []
    with model.open("rb") as file:
        head = file.read(len(BINARY))
        compressed = head[:2] == b"\x1f\x8b"
        if head == BINARY:
            return _words_of_binary(file)
    opener = gzip.open if compressed else open
    with opener(model, "rt", encoding="utf-8", errors="replace") as file:
        if file.read(ARPA_HEAD).lstrip("\ufeff \r\n\t")[:6] != "\\data\\":
            return None
        file.seek(0)
        for line in itertools.dropwhile(lambda line: line.strip() != "\\1-grams:", file):
            # kenlm separates at these characters; a word may contain other white space.
            fields = re.split("[ \t]+", line.strip(" \t\r\n"))
            if line.startswith("\\2-grams:"):
                break
            if len(fields) > 1:  # log10 of the probability, the word, perhaps a back-off weight
                words.append(fields[1])
    return words


def _words_of_binary(file: BinaryIO) -> list[str] | None:
    """Words at the end of kenlm's binary, each before a zero byte, after those that kenlm adds.

    None if there are none: `build_binary -v` leaves them out.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(b"<unk>\0")
        words = content[start:].decode(errors="replace").split("\0")[:-1] if start > 0 else []
    return words if {"<s>", "</s>"}.issubset(words) else None


def respelled(words: Iterable[str], symbols: Iterable[str]) -> dict[str, list[str]]:
    """{word in the alphabet's case: the words of a model that it may be}, if the case differs.

    A word that the alphabet can spell is itself; others are tried in lower and in upper case.

    Args:
        words: of the model.
        symbols: of the alphabet.
    """
    letters, found = set(symbols), {}
    for word in words:
        if not letters.issuperset(word):
            spelt = [w for w in (word.lower(), word.upper()) if letters.issuperset(w)]
            if spelt:
                found.setdefault(spelt[0], []).append(word)
    if found:
        found |= {word: [word] for word in words if letters.issuperset(word)}
    return found


class _Respelled:
    """A model of kenlm, asked in the alphabet's case, as far as pyctcdecode 0.5.0 asks it.

    Of several words that differ only in case, the most probable one is meant.
    """

    def __init__(self, model: Any, words: dict[str, list[str]]) -> None:
        def probability(word: str) -> float:
            return model.score(word, bos=False, eos=False)

        self._model = model
        self._words = {spelt: max(found, key=probability) for spelt, found in words.items()}
        self.order = model.order
        self.BeginSentenceWrite = model.BeginSentenceWrite
        self.NullContextWrite = model.NullContextWrite
        self.BaseScore = self._score

    def __contains__(self, word: str) -> bool:
        return self._words.get(word, word) in self._model

    def _score(self, state: Any, word: str, after: Any) -> float:
        return self._model.BaseScore(state, self._words.get(word, word), after)


class Beam:
    """Beam search, with or without an n-gram model of words; needs pyctcdecode and kenlm.

    Args:
        recognizer: the model, whose alphabet must be letters.
        model: ARPA file or kenlm's binary; None searches without. Its words tell the search how
            words begin, and their case may be another than the alphabet's. A binary without words
            needs a list of them beside it, MODEL.words (`uniwav data lm` writes one).
        weight: factor of the n-gram's natural log-probabilities. fairseq's weights multiply
            logarithms to base 10 and are ln 10 = 2.3 times as large; the default is fairseq's 2.
        word_score: added for each word, in natural logarithms; has no effect without a model.
        width: number of hypotheses that are kept.

    Raises:
        UserError: the packages are missing, or the file is no n-gram model.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        model: str | None,
        *,
        weight: float = LM_WEIGHT,
        word_score: float = WORD_SCORE,
        width: int = 100,
    ) -> None:
        if recognizer.config.text.units != "letters":
            raise UserError("beam search spells words: it needs text.units=letters")
        try:
            import pyctcdecode
        except ImportError as error:
            raise UserError(
                "beam search needs pyctcdecode, which asks for an older numpy than it needs:"
                ' pip install "uniwav_jax[beam]" && pip install --no-deps pyctcdecode==0.5.0'
            ) from error
        if model and not pathlib.Path(model).is_file():
            raise UserError(f"{model} does not exist; 'uniwav data lm' makes a model from text")
        words = known_words(pathlib.Path(model)) if model else None
        symbols = [" " if s == alphabet.SPACE else s for s in recognizer.config.text.symbols]
        spelt = respelled(words or (), symbols)
        if words and not spelt and not any(set(word) <= set(symbols) for word in words):
            raise UserError(
                f"{model}: the recogniser cannot spell any of its words, such as {words[-1]}; make"
                " a model of texts in its letters: uniwav data lm"
            )
        options = {"alpha": weight, "beta": word_score}
        try:
            if spelt:
                import kenlm

                respelt = _Respelled(kenlm.Model(model), spelt)
                self.decoder = pyctcdecode.BeamSearchDecoderCTC(
                    pyctcdecode.Alphabet.build_alphabet(["", *symbols]),
                    pyctcdecode.LanguageModel(respelt, list(spelt), **options),
                )
            else:
                self.decoder = pyctcdecode.build_ctcdecoder(["", *symbols], model, words, **options)
        except OSError as error:
            raise UserError(f"{model} is no n-gram model that kenlm can read: {error}") from error
        if model and words is None:
            print(
                f"warning: {model} does not contain its words, so the search does not know how they"
                " begin, and a model in capitals has no effect; write its words to"
                f" {model}.words, or build it again without -v: build_binary FILE.arpa {model}",
                file=sys.stderr,
            )
        self._width, self._rate = width, recognizer.frame_rate

    def words(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the best hypothesis, with pyctcdecode's frames, of float32 [T, V + 1]."""
        best = self.decoder.decode_beams(log_probs_TxV, beam_width=self._width)[0]
        frames = best.text_frames if hasattr(best, "text_frames") else best[2]
        return [Word(word, a / self._rate, b / self._rate) for word, (a, b) in frames]
