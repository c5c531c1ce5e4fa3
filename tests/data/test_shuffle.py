"""Joined passes do not repeat items early, and mixtures have the right shares."""

from fractions import Fraction

import numpy as np
import pytest

from uniwav_jax.data import shuffle

PASSES = 60


def order(items, most):
    def random(*path):
        return np.random.default_rng((0, *path))

    return [shuffle.one_pass(number, items, most, random) for number in range(PASSES)]


@pytest.mark.parametrize("most", [1, 2, 7, 8, 20])
def test_neighbours_differ_across_passes(most):
    for items in (1, 2, 3, 7, 8, 9, 13, 15, 16, 21, 23, 24, 25, 40, 60, 61, 200):
        passes = order(items, most)
        for each in passes:
            assert sorted(each) == list(range(items))
        stream = np.concatenate(passes)
        for window in np.lib.stride_tricks.sliding_window_view(stream, most)[: 40 * items]:
            counts = np.bincount(window, minlength=items)
            assert counts.max() <= -(-most // items) and counts.min() >= most // items
        if items >= max(2 * most, 13):
            assert len({tuple(each) for each in passes}) == PASSES  # a new order each time


def test_every_item_can_follow_any_other():
    """If there are enough items, passes are full shuffles: items do not keep their places."""
    places = np.argsort(order(60, 20), axis=1)
    assert (np.ptp(places, axis=0) > 40).all()


def test_shares_of_a_mixture():
    weights = [Fraction(1, 7), Fraction(5), Fraction(2, 3)]
    exact = np.array([float(w / sum(weights)) for w in weights])
    taken = [0, 0, 0]
    for start in range(0, 4000, 13):
        ranges = shuffle.share_out(start, start + 13, weights)
        assert sum(last - first for first, last in ranges) == 13
        assert all(last >= first for first, last in ranges)
        assert [
            first for first, _ in ranges
        ] == taken  # it continues at the end of the previous batch
        taken = [last for _, last in ranges]
        assert np.abs(taken - exact * (start + 13)).max() < 2
