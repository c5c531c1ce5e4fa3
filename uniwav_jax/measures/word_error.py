"""Word and character error rates by jiwer, with confidence intervals over the utterances."""

import dataclasses
from collections.abc import Sequence

import jiwer
import numpy as np

from uniwav_jax.measures import bootstrap

COUNTS = ("substitutions", "deletions", "insertions", "hits")


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors of a set of utterances in words or characters.

    Attributes:
        counts: int64 [utterances, 4], the `COUNTS` of each utterance.
        alignment: text that shows each utterance's reference above its hypothesis.
    """

    counts: np.ndarray
    alignment: str

    @property
    def rate(self) -> float:
        """Errors per word or character of the references; above 1 with many insertions."""
        return rate(self.counts.sum(0))

    def interval(self) -> tuple[float, float]:
        """95 % interval of the rate, by bootstrap over the utterances."""
        return bootstrap.interval(self.counts, rate)


def words(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Word errors; references must not be empty."""
    return _errors(jiwer.process_words(list(references), list(hypotheses)))


def characters(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Character errors, spaces included; references must not be empty."""
    return _errors(jiwer.process_characters(list(references), list(hypotheses)))


def _errors(output: jiwer.WordOutput | jiwer.CharacterOutput) -> Errors:
    counts = np.zeros((len(output.alignments), 4), np.int64)
    places = {"substitute": 0, "delete": 1, "insert": 2, "equal": 3}
    for row, chunks in enumerate(output.alignments):
        for chunk in chunks:
            spans = (
                chunk.ref_end_idx - chunk.ref_start_idx,
                chunk.hyp_end_idx - chunk.hyp_start_idx,
            )
            counts[row, places[chunk.type]] += max(spans)
    return Errors(counts, jiwer.visualize_alignment(output, show_measures=False))


def rate(total: np.ndarray) -> float:
    """Error rate of counts [4] summed over utterances."""
    substitutions, deletions, insertions, hits = total
    return float((substitutions + deletions + insertions) / (substitutions + deletions + hits))
