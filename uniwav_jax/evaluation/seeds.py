"""Means of judges' scores over clips and noise seeds, with intervals over both."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwav_jax.measures import bootstrap, word_error


def means(
    runs: Sequence[Sequence[dict[str, Any]]], names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Mean of each measure, and its 95 % interval over seeds and clips.

    A clip counts for a measure if it was scored with every seed.

    Args:
        runs: for each seed the scores of each clip, as the judges give them.
        names: the measures; "word_error" is the rate over all words, from the clips' "errors".

    Returns:
        {measure: {"mean", "low", "high", "clips": number of clips scored}}; the bounds are None for
        a single clip. Measures that scored no clip are left out.
    """
    result = {}
    for name in names:
        measure = word_error.rate if name == "word_error" else _mean
        tables = [[_counted(score, name) for score in scores] for scores in runs]
        scored = [n for n in range(len(tables[0])) if all(table[n] for table in tables)]
        if not scored:
            continue
        counts = [np.array([table[n] for n in scored], np.float64) for table in tables]
        mean = float(np.mean([measure(c.sum(0)) for c in counts]))
        low, high = bootstrap.over_seeds(counts, measure) if len(scored) > 1 else (None, None)
        result[name] = {"mean": mean, "low": low, "high": high, "clips": len(scored)}
    return result


def _counted(score: dict[str, Any], name: str) -> Sequence[float] | None:
    if name == "word_error":
        return score.get("errors")
    return [score[name], 1.0] if name in score else None


def _mean(total: np.ndarray) -> float:
    return float(total[0] / total[1])
