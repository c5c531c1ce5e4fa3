"""Recognition of files of any length: posteriors in batches, decoding, timestamps.

A window is as long as the longest clips of the training, and its ends are heard again by its
neighbours (inference/windows.py). Greedy decoding needs nothing; with an n-gram model in ARPA or
kenlm's binary format pyctcdecode searches a beam.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.config import Config
from uniwav_jax.data import text
from uniwav_jax.errors import UserError
from uniwav_jax.inference import windows
from uniwav_jax.tasks import asr
from uniwav_jax.train import checkpoint, step
from uniwav_jax.types import Batch, PyTree

OVERLAP = 2.0  # seconds at the ends of a window that are left to its neighbours
GROUP = 240.0  # seconds of audio read ahead, to be sorted by length
LM_WEIGHT, WORD_SCORE = 2.0, -1.0  # fairseq's, for an n-gram of words


@dataclasses.dataclass(frozen=True)
class Word:
    """A recognised word and when it is said, in seconds."""

    text: str
    start: float
    end: float


class Recognizer:
    """A model of task asr, ready to hear files.

    Args:
        config: of the run, with its alphabet.
        arrays: {"params", "features"} of its state.
        batch_seconds: audio, padding included, that is computed at once.
    """

    def __init__(self, config: Config, arrays: PyTree, *, batch_seconds: float = 120.0) -> None:
        self.config = config
        self.vocabulary = text.Vocabulary(config.asr)
        self.features = features_lib.build(config.features)
        self._arrays = jax.device_put(arrays)
        self._batch_seconds = batch_seconds
        self._log_probs = jax.jit(self._compute)

    @classmethod
    def load(cls, path: str, **options: float) -> "Recognizer":
        """From a workdir, its checkpoints folder or a step folder.

        Raises:
            UserError: no checkpoint there, or of another task.
        """
        arrays, meta = checkpoint.load_numpy(path, ("params", "features"))
        config = config_lib.from_dict(meta["config"])
        if config.task != "asr":
            raise UserError(
                f"{path} is a checkpoint of task {config.task}, which recognises nothing;"
                " fine-tune it with configs/asr_demo.py and --config.init_from"
            )
        return cls(config, arrays, **options)

    @property
    def frame_rate(self) -> float:
        """Frames per second of the posteriors."""
        return self.features.frame_rate

    def _compute(self, arrays: PyTree, batch: Batch) -> jax.Array:
        x_BxTxC, frames_B = step.surface(batch, arrays["features"], self.features)
        logits = asr.logits(arrays["params"], x_BxTxC, frames_B, self.config)
        return jax.nn.log_softmax(logits)

    def posteriors(
        self, files: Iterable[tuple[Any, Iterable[np.ndarray]]]
    ) -> Iterator[tuple[Any, np.ndarray | UserError]]:
        """Log-probabilities float32 [T, V + 1] of each file, in order.

        Args:
            files: pairs of a name and the file's blocks, float32 at the model's sample rate; a
                `UserError` that the blocks raise comes out in place of the posteriors.
        """
        pending: list[tuple[int, windows.Window]] = []
        results: dict[int, list[np.ndarray] | UserError] = {}
        names: dict[int, Any] = {}
        seconds, done = 0.0, 0
        for number, (name, blocks) in enumerate(files):
            names[number], results[number] = name, []
            try:
                for window in self._cut(blocks):
                    pending.append((number, window))
                    seconds += window.samples / self.features.sample_rate
                    if seconds > GROUP:
                        self._run(pending, results)
                        pending, seconds = [], 0.0
            except UserError as error:
                pending = [item for item in pending if item[0] != number]
                results[number] = error
            waiting = {item[0] for item in pending}
            while done in results and done not in waiting:
                yield names.pop(done), _joined(results.pop(done))
                done += 1
        self._run(pending, results)
        for number in sorted(results):
            yield names[number], _joined(results[number])

    def _cut(self, blocks: Iterable[np.ndarray]) -> Iterator[windows.Window]:
        rate, hop = self.features.sample_rate, self.features.hop
        longest = round(self.config.data.buckets[-1] * rate) // hop
        return windows.cut(
            blocks,
            hop=hop,
            window=longest,
            overlap=min(round(OVERLAP * self.frame_rate), longest // 4),
            context=self.features.context,
        )

    def _run(self, pending: list[tuple[int, windows.Window]], results: dict[int, Any]) -> None:
        """Compute windows, the like long ones together, and hand each file its frames in order."""
        rate, around = self.features.sample_rate, sum(self.features.context)
        buckets = [round(seconds * rate) for seconds in self.config.data.buckets]
        by_bucket: dict[int, list[int]] = {}
        for place, (_, window) in enumerate(pending):
            bucket = next(b for b in buckets if b >= window.samples)
            by_bucket.setdefault(bucket, []).append(place)
        kept: dict[int, np.ndarray] = {}
        for bucket, places in by_bucket.items():
            rows = max(1, int(self._batch_seconds * rate / bucket))
            for first in range(0, len(places), rows):
                chosen = places[first : first + rows]
                audio_BxS = np.zeros((rows, around + bucket), np.float32)
                samples_B = np.zeros(rows, np.int32)
                for row, place in enumerate(chosen):
                    window = pending[place][1]
                    audio_BxS[row, : len(window.audio)] = window.audio
                    samples_B[row] = window.samples
                batch = Batch(audio_BxS, samples_B, np.zeros(rows, bool))
                log_probs_BxTxV = np.asarray(self._log_probs(self._arrays, batch))
                for row, place in enumerate(chosen):
                    kept[place] = log_probs_BxTxV[row][slice(*pending[place][1].keep)]
        for place, (number, _) in enumerate(pending):
            results[number].append(kept[place])

    def greedy(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the best path: a word lasts from its first symbol's peak to its last's."""
        path_T = log_probs_TxV.argmax(-1)
        starts = np.flatnonzero(np.diff(path_T, prepend=-1))
        ends = np.append(starts[1:], len(path_T))
        tokens = [(int(path_T[a]), int(a), int(b)) for a, b in zip(starts, ends) if path_T[a]]
        return self.words(tokens)

    def words(self, tokens: Iterable[tuple[int, int, int]]) -> list[Word]:
        """Words from (token, first frame, end frame)."""
        asr_config, symbols = self.config.asr, self.config.asr.symbols
        groups: list[list[tuple[str, int, int]]] = [[]]
        for token, start, end in tokens:
            symbol = symbols[token - 1]
            if asr_config.units == "tokens":
                groups.append([(symbol, start, end)])
            elif symbol == text.SPACE:
                groups.append([])
            else:
                groups[-1].append((symbol, start, end))
        rate = self.frame_rate
        return [
            Word("".join(s for s, *_ in group), group[0][1] / rate, group[-1][2] / rate)
            for group in groups
            if group
        ]


def _joined(result: list[np.ndarray] | UserError) -> np.ndarray | UserError:
    if isinstance(result, UserError):
        return result
    if not result:
        return UserError("no audio")
    return np.concatenate(result)


class Beam:
    """Beam search with an n-gram model of words; needs pyctcdecode and kenlm.

    Args:
        recognizer: whose alphabet of letters is searched.
        model: ARPA file or kenlm binary; None: none.
        weight: of the n-gram's log-probabilities.
        word_score: added for each word.
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
        if recognizer.config.asr.units != "letters":
            raise UserError("beam search spells words: it needs asr.units=letters")
        try:
            import pyctcdecode
        except ImportError as error:
            raise UserError(
                "beam search needs pyctcdecode, which asks for an older numpy than it needs:"
                ' pip install "uniwav_jax[beam]" && pip install --no-deps pyctcdecode==0.5.0'
            ) from error
        if model and not pathlib.Path(model).is_file():
            raise UserError(f"{model} does not exist; tools/build_lm.py makes one of text")
        symbols = [" " if s == text.SPACE else s for s in recognizer.config.asr.symbols]
        try:
            self.decoder = pyctcdecode.build_ctcdecoder(
                ["", *symbols], model, alpha=weight, beta=word_score
            )
        except OSError as error:
            raise UserError(f"{model} is no n-gram model that kenlm can read: {error}") from error
        self._width, self._rate = width, recognizer.frame_rate

    def words(self, log_probs_TxV: np.ndarray) -> list[Word]:
        """Words of the best hypothesis with the frames that pyctcdecode gives them."""
        best = self.decoder.decode_beams(log_probs_TxV, beam_width=self._width)[0]
        frames = best.text_frames if hasattr(best, "text_frames") else best[2]
        return [Word(word, a / self._rate, b / self._rate) for word, (a, b) in frames]
