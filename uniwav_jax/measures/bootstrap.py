"""Confidence intervals of a measure on a test set: percentile bootstrap over clips or utterances.

Clips are resampled with replacement, because clips are nearly independent while the frames of one
clip are not. Two systems on the same clips are resampled together (`minus`), so that the difficulty
of the clips cancels. Resampling clips does not show how much training runs differ; use `over_seeds`
for claims about training.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

Counts = np.ndarray  # counts with one row per clip; a measure reads the sum of the rows


def interval(
    per_clip: Counts,
    measure: Callable[[np.ndarray], float],
    *,
    minus: Counts | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a measure of one system, or of the difference between two systems.

    Args:
        per_clip: [clips, ...] additive counts, such as errors and words, or joint counts.
        measure: function of the summed counts [...].
        minus: the other system's counts on the same clips; its shape may differ after the first
            dimension.
        resamples: number of resamplings.
        level: share of the resampled values that lie between the bounds.
        seed: seed of the resampling.

    Returns:
        Lower and upper bound.
    """
    weights = np.random.default_rng(seed).multinomial(
        len(per_clip), np.full(len(per_clip), 1 / len(per_clip)), size=resamples
    )

    def repeat(counts: Counts) -> np.ndarray:
        flat = counts.reshape(len(counts), -1).astype(np.float64)  # for a fast matmul
        return np.array([measure((row @ flat).reshape(counts.shape[1:])) for row in weights])

    values = repeat(per_clip) - (0.0 if minus is None else repeat(minus))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def over_seeds(
    runs: Sequence[Counts],
    measure: Callable[[np.ndarray], float],
    *,
    minus: Sequence[Counts] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a measure's mean over training runs, with respect to seeds and clips.

    Seeds and clips vary independently, so the half widths of their intervals are added in
    quadrature. The interval over seeds is Student's t interval of the runs' values, because a
    bootstrap of a handful of runs gives intervals that are far too narrow. The interval over clips
    is `interval` of the counts of all runs.

    Args:
        runs: counts [clips, ...] of each seed's run, on the same clips. With a single run the
            interval is over the clips only.
        measure, resamples, level: as for `interval`.
        minus: runs of the other system with the same seeds in the same order; the interval is then
            that of the mean difference between the runs of each seed.

    Returns:
        Lower and upper bound, at the same distance from the mean.

    Raises:
        ValueError: `runs` and `minus` differ in length.
    """
    values = np.array([measure(counts.sum(0)) for counts in runs])
    if minus is not None:
        if len(minus) != len(runs):
            raise ValueError(f"{len(runs)} runs are to be compared with {len(minus)} runs")
        values = values - [measure(counts.sum(0)) for counts in minus]
    low, high = interval(
        sum(runs),
        measure,
        minus=None if minus is None else sum(minus),
        resamples=resamples,
        level=level,
    )
    half = (high - low) / 2
    if len(runs) > 1:
        half = math.hypot(half, student(values, level=level))
    return float(values.mean() - half), float(values.mean() + half)


def student(values: Sequence[float], *, level: float = 0.95) -> float:
    """Half the width of Student's t interval of the mean of independent values.

    Args:
        values: at least two, such as a measure of runs with several seeds.
        level: share of such intervals that contain the true mean, if the values are normal.

    Raises:
        ValueError: there are fewer than two values.
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} values have no interval; there must be two")
    deviation = float(np.std(values, ddof=1))
    return float(special.stdtrit(count - 1, (1 + level) / 2)) * deviation / math.sqrt(count)
