"""Recognition of files of any length: posteriors (inference/windowed.py), decoding, timestamps.

Greedy decoding needs nothing; with an n-gram model in ARPA or kenlm's binary format pyctcdecode
searches a beam.
"""

import dataclasses
import itertools
import math
import pathlib
import re
from collections.abc import Iterable

import jax
import numpy as np

from uniwav_jax import tasks
from uniwav_jax.checkpoint import reader
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.inference import windowed
from uniwav_jax.text import alphabet
from uniwav_jax.types import PyTree

WORDS = ".words"  # what follows a binary n-gram's name in that of the list of its words
# fairseq's for an n-gram of words: lm-weight 2, word-score -1 (examples/wav2vec/README.md). Its
# decoder, flashlight's, adds 2 times kenlm's score, which is a logarithm to base 10, to the natural
# logarithms of the network. pyctcdecode turns kenlm's scores into natural logarithms first. The
# score of a word is added as it is by both. findings/pyctcdecode_units.sh measures it.
LM_WEIGHT, WORD_SCORE = 2.0 / math.log(10.0), -1.0
WEIGHT_HELP = (
    "of the n-gram's natural log-probabilities, beside the network's: fairseq's and flashlight's"
    f" weight, which is of log10, divided by ln 10; default: 2 / ln 10 = {LM_WEIGHT:.2f}"
)
SCORE_HELP = f"added for each word, in natural logarithms; default: {WORD_SCORE:g}"


@dataclasses.dataclass(frozen=True)
class Word:
    """A recognised word and when it is said, in seconds."""

    text: str
    start: float
    end: float


class Recognizer(windowed.WindowedModel):
    """A model that recognises; `run` gives log-probabilities [T, V] of each file.

    Args:
        config: of the run, with its alphabet.
        arrays: {"params", "features"} of its state.
        options: of `windowed.WindowedModel`.
    """

    def __init__(
        self,
        config: Config,
        arrays: PyTree,
        features: SurfaceFeatures | None = None,
        **options: float,
    ) -> None:
        super().__init__(config, arrays, features, **options)
        self._logits = tasks.get(config.task).logits
        self.vocabulary = alphabet.vocabulary(config.text)

    @classmethod
    def load(cls, path: str, **options: float) -> "Recognizer":
        """From a workdir, its checkpoints folder or a step folder.

        Raises:
            UserError: there is no checkpoint, or its task recognises nothing.
        """
        checkpoint = reader.open(path)
        if checkpoint.task.logits is None:
            raise UserError(
                f"{path} is a checkpoint of task {checkpoint.task.name}, which recognises nothing;"
                " fine-tune it with --config=asr_demo and --config.init_from"
            )
        arrays = checkpoint.arrays("params", "frozen/features")
        arrays = {"params": arrays["params"], "features": arrays["frozen"]["features"]}
        return cls(checkpoint.config, arrays, checkpoint.features(), **options)

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> jax.Array:
        """Log-probabilities of blank and tokens, float32 [B, T, V]."""
        return jax.nn.log_softmax(self._logits(params, x_BxTxC, frames_B, self.config))

    def greedy(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the best path: a word lasts from its first symbol's peak to its last's."""
        path_T = log_probs_TxV.argmax(-1)
        starts = np.flatnonzero(np.diff(path_T, prepend=-1))
        ends = np.append(starts[1:], len(path_T))
        tokens = [(int(path_T[a]), int(a), int(b)) for a, b in zip(starts, ends) if path_T[a]]
        return self.words(tokens)

    def words(self, tokens: Iterable[tuple[int, int, int]]) -> list[Word]:
        """Words from (token, first frame, end frame)."""
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
    """Words of an ARPA file, or those listed beside kenlm's binary; None without a list.

    pyctcdecode would read an ARPA file itself, but takes words that begin no longer n-gram, and so
    may stand without a back-off weight, for unknown ones.
    """
    listed = pathlib.Path(f"{model}{WORDS}")
    if listed.is_file():
        return listed.read_text(encoding="utf-8").split()
    if model.suffix != ".arpa":
        return None
    words = []
    with model.open(encoding="utf-8", errors="replace") as file:
        for line in itertools.dropwhile(lambda line: line.strip() != "\\1-grams:", file):
            fields = re.split("[ \t]+", line.strip(" \t\r\n"))  # as kenlm; a word may hold others
            if line.startswith("\\2-grams:"):
                break
            if len(fields) > 1:  # log10 of the probability, the word, and maybe its back-off weight
                words.append(fields[1])
    return words


class Beam:
    """Beam search with an n-gram model of words; needs pyctcdecode and kenlm.

    Args:
        recognizer: whose alphabet of letters is searched.
        model: ARPA file, or kenlm's binary with a list of its words beside it (tools/build_lm.py
            writes MODEL.words), without which the search knows words less well; None: none.
        weight: of the n-gram's natural log-probabilities. fairseq's weights, for logarithms to
            base 10, are ln 10 = 2.3 times as large; the default is its 2.
        word_score: added for each word, in natural logarithms; not without a model.
        width: hypotheses kept.

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
            raise UserError(f"{model} does not exist; tools/build_lm.py makes one of text")
        words = known_words(pathlib.Path(model)) if model else None
        symbols = [" " if s == alphabet.SPACE else s for s in recognizer.config.text.symbols]
        try:
            self.decoder = pyctcdecode.build_ctcdecoder(
                ["", *symbols], model, words, alpha=weight, beta=word_score
            )
        except OSError as error:
            raise UserError(f"{model} is no n-gram model that kenlm can read: {error}") from error
        self._width, self._rate = width, recognizer.frame_rate

    def words(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the best hypothesis with the frames that pyctcdecode gives them."""
        best = self.decoder.decode_beams(log_probs_TxV, beam_width=self._width)[0]
        frames = best.text_frames if hasattr(best, "text_frames") else best[2]
        return [Word(word, a / self._rate, b / self._rate) for word, (a, b) in frames]
