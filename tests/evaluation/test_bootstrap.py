"""Intervals against closed forms and against the truth they should cover."""

import numpy as np
import pytest

from uniwav_jax.evaluation import bootstrap


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


def test_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        words = rng.integers(5, 40, 80)
        counts = np.stack([rng.binomial(words, 0.2), words], 1)
        low, high = bootstrap.interval(counts, rate, resamples=300, seed=trial)
        covered += low <= 0.2 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_pairs_share_their_draws():
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
