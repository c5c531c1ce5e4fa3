"""Intervals agree with closed forms, and contain the true value as often as they should."""

import numpy as np
import pytest

from uniwav_jax.measures import bootstrap


def rate(counts: np.ndarray) -> float:
    """Errors per word of [errors, words]."""
    return float(counts[0] / counts[1])


def test_mean_has_the_textbook_interval():
    errors = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap.interval(
        np.stack([errors, np.ones(400)], 1), rate, resamples=4000, level=0.9
    )
    half = 1.6449 * errors.std() / 20
    assert low == pytest.approx(errors.mean() - half, abs=0.02)
    assert high == pytest.approx(errors.mean() + half, abs=0.02)


def test_coverage_equals_the_level():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        words = rng.integers(5, 40, 80)
        counts = np.stack([rng.binomial(words, 0.2), words], 1)
        low, high = bootstrap.interval(counts, rate, resamples=300, seed=trial)
        covered += low <= 0.2 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_paired_systems_are_resampled_together():
    """Clips differ far more from one another than the two systems do on one clip."""
    rng = np.random.default_rng(3)
    words = np.full(50, 100)
    base = rng.integers(0, 90, 50)
    worse = np.stack([base + rng.integers(0, 3, 50), words], 1)
    better = np.stack([base, words], 1)
    low, high = bootstrap.interval(worse, rate, minus=better)
    assert 0.005 < low < high < 0.015
    alone_low, alone_high = bootstrap.interval(worse, rate)
    assert alone_high - alone_low > 10 * (high - low)
    assert bootstrap.interval(better, rate, minus=better) == (0.0, 0.0)


def test_coverage_over_three_seeds_equals_the_level():
    """Runs differ far more than a bootstrap over clips shows, whose coverage is too low."""
    rng = np.random.default_rng(4)
    covered, by_clips, trials = 0, 0, 400
    words = np.full(60, 100)

    def run(probability: float, clips: np.ndarray) -> np.ndarray:
        return np.stack([rng.binomial(words, np.clip(probability + clips, 0, 1)), words], 1)

    for _ in range(trials):
        clips = rng.normal(0, 0.1, 60)  # difficulty of each clip, the same for both systems
        worse = [run(rng.normal(0.5, 0.02), clips) for _ in range(3)]
        better = [run(rng.normal(0.4, 0.02), clips) for _ in range(3)]
        low, high = bootstrap.over_seeds(worse, rate, minus=better, resamples=100)
        covered += low <= 0.1 <= high
        low, high = bootstrap.interval(sum(worse), rate, minus=sum(better), resamples=100)
        by_clips += low <= 0.1 <= high
    assert 0.93 <= covered / trials <= 0.98
    assert by_clips / trials < 0.7


def test_equal_clips_leave_students_interval_over_the_seeds():
    """Clips with equal counts add no uncertainty, so only Student's t interval remains."""
    runs = [np.tile([errors, 100], (20, 1)) for errors in (30, 32, 37)]
    low, high = bootstrap.over_seeds(runs, rate)
    half = 4.30265 * np.std([0.30, 0.32, 0.37], ddof=1) / np.sqrt(3)
    assert (low, high) == pytest.approx((0.33 - half, 0.33 + half), abs=1e-6)
    with pytest.raises(ValueError, match="3 runs are to be compared with 2"):
        bootstrap.over_seeds(runs, rate, minus=runs[:2])


def test_one_seed_has_the_interval_over_the_clips():
    errors = np.random.default_rng(5).integers(0, 60, 50)
    counts = np.stack([errors, np.full(50, 100)], 1)
    low, high = bootstrap.over_seeds([counts], rate)
    alone = bootstrap.interval(counts, rate)
    assert high - low == pytest.approx(alone[1] - alone[0])


def test_students_interval_by_hand():
    """Of 1, 2 and 3: the mean 2, the deviation 1, and the quantile 4.30265 of two degrees."""
    assert bootstrap.student([1.0, 2.0, 3.0]) == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    assert bootstrap.student([1.0, 2.0], level=0.9) == pytest.approx(6.31375 / 2, rel=1e-5)
    assert bootstrap.student([0.5, 0.5, 0.5]) == 0.0
    with pytest.raises(ValueError, match="1 values have no interval"):
        bootstrap.student([1.0])
