"""How sure a measure of a test set is: percentile bootstrap over its clips or utterances.

Frames of one clip are not independent, clips nearly are: so clips are drawn, with replacement. For
two systems on the same clips draw both alike (`minus`), which leaves out what makes a clip hard.
How much a system differs from one training run to the next no drawing of clips can show: where a
claim is about training, `over_seeds` adds that.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

Counts = np.ndarray  # one row per clip; the rows' sum is what a measure reads


def interval(
    per_clip: Counts,
    measure: Callable[[np.ndarray], float],
    *,
    minus: Counts | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of `measure(sum of per_clip)`, less the same of `minus` where given.

    Args:
        per_clip: [clips, ...] additive counts, such as errors and words, or joint counts.
        measure: from the counts' sum [...] to a number.
        minus: the other system's counts on the same clips; its shape may differ after the first
            dimension.

    Returns:
        The bounds that hold `level` of `resamples` repetitions.
    """
    draws = np.random.default_rng(seed).multinomial(
        len(per_clip), np.full(len(per_clip), 1 / len(per_clip)), size=resamples
    )

    def repeat(counts: Counts) -> np.ndarray:
        flat = counts.reshape(len(counts), -1).astype(np.float64)  # float: numpy's fast matmul
        return np.array([measure((draw @ flat).reshape(counts.shape[1:])) for draw in draws])

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
    """Interval of a measure's mean over training runs, for other seeds and other clips.

    Both kinds of chance are there at once and do not depend on each other, so their half widths are
    added in quadrature. Over the seeds it is Student's t of the values of the runs, with one degree
    of freedom fewer than runs: to draw a handful of runs with replacement, as a bootstrap does,
    gives intervals far too narrow. Over the clips it is `interval` of the counts of all runs.

    Args:
        runs: counts [clips, ...] of the run of each seed, on the same clips. A single run does
            not show how far seeds differ: its interval is over the clips alone.
        measure: as for `interval`.
        minus: runs of the other system with the same seeds in the same order; the values whose
            spread counts are then the differences of each seed's pair.

    Returns:
        The bounds, the same distance from the mean.

    Raises:
        ValueError: not as many runs in `minus`.
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
        student = special.stdtrit(len(runs) - 1, (1 + level) / 2)
        half = math.hypot(half, student * values.std(ddof=1) / math.sqrt(len(runs)))
    return float(values.mean() - half), float(values.mean() + half)
