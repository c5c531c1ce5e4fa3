"""How sure a measure of a test set is: percentile bootstrap over its clips or utterances.

Frames of one clip are not independent, clips nearly are: so clips are drawn, with replacement. For
two systems on the same clips draw both alike (`minus`), which leaves out what makes a clip hard.
"""

from collections.abc import Callable

import numpy as np

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
