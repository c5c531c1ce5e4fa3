"""Span masking has the counts and the coverage that are computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.models import masking


def spans(frames, *, seed=0, length=10, probability=0.8, total=None):
    frames = jnp.asarray(frames, jnp.int32)
    total = int(frames.max()) if total is None else total
    key = jax.random.key(seed)
    return np.asarray(
        masking.sample_spans(key, frames, length=length, total=total, probability=probability)
    )


def runs(row):
    """Lengths of the hidden runs of one row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def expected_share(frames, length, count):
    """Expected hidden share of a row with `count` distinct starts (hypergeometric)."""
    starts = frames - length + 1
    missed = 0.0
    for position in range(frames):
        covering = min(position, starts - 1) - max(position - length + 1, 0) + 1
        missed += math.comb(starts - covering, count) / math.comb(starts, count)
    return 1 - missed / frames


def test_hidden_runs_consist_of_whole_spans():
    mask = spans([400] * 200)
    assert min(runs(row).min() for row in mask) == 10  # single spans occur and none is shorter


def test_one_span_has_ten_frames_and_a_uniform_start():
    mask = spans([12] * 3000)  # 0.8 * 12 / 10 = 0.96, so there is always one span
    assert (mask.sum(1) == 10).all()
    starts = np.bincount(mask.argmax(1), minlength=3)
    np.testing.assert_allclose(starts / 3000, 1 / 3, atol=0.04)


def test_count_is_floor_of_the_expected_number_plus_u():
    # With spans of one frame, hidden frames are starts, so repeated starts would lower the count.
    hidden = spans([12] * 4000, length=1).sum(1)  # 0.8 * 12 = 9.6
    assert set(hidden) == {9, 10}
    assert abs(hidden.mean() - 9.6) < 0.04
    assert (spans([11] * 500, length=1, probability=1.0).sum(1) == 11).all()


def test_about_57_percent_are_hidden():
    share = spans([400] * 1500).mean()
    assert abs(share - expected_share(400, 10, 32)) < 0.003
    assert 0.55 < share < 0.59


def test_shorter_rows_have_fewer_spans_and_padding_has_none():
    frames = np.repeat([0, 5, 10, 15, 100, 200, 400], 500)
    mask = spans(frames, total=400)
    assert not (mask & (np.arange(400) >= frames[:, None])).any()
    hidden = {n: mask[frames == n].sum(1) for n in np.unique(frames)}
    assert (hidden[0] == 0).all()  # no audio
    assert (hidden[5] == 5).all()  # shorter than a span, so completely hidden
    assert (hidden[10] == 10).all()
    assert (hidden[15] >= 10).all()  # at least one span
    for n in (100, 200):
        expected = expected_share(n, 10, round(0.8 * n / 10))
        assert abs(hidden[n].mean() / n - expected) < 0.01


@pytest.mark.parametrize("frames", [3, 30])
def test_padding_does_not_lengthen_the_spans_of_a_row(frames):
    mask = spans([frames] * 200, total=300)
    assert (mask.sum(1) >= min(frames, 10)).all()
    assert not mask[:, frames:].any()


def test_spans_depend_on_the_key_only():
    first, again, other = (spans([200] * 4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()  # rows have different spans


def test_frame_mask():
    mask = masking.frame_mask(jnp.array([0, 2, 4]), 4)
    np.testing.assert_array_equal(mask, [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


def test_one_contiguous_span_of_a_share_of_each_row():
    frames = jnp.tile(jnp.array([0, 1, 10, 37, 100]), 200)
    hidden = masking.sample_span(jax.random.key(0), frames, low=0.7, high=1.0, total=100)
    hidden, frames = np.asarray(hidden), np.asarray(frames)
    counts = hidden.sum(1)
    assert (counts[frames == 0] == 0).all() and (counts[frames == 1] == 1).all()
    edges = np.abs(np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
    assert (edges[frames > 0] == 2).all(), "one span each"
    assert not (hidden & (np.arange(100) >= frames[:, None])).any()
    share = counts[frames == 100] / 100
    assert share.min() >= 0.7 and share.max() <= 1.0
    assert abs(share.mean() - 0.85) < 0.03
    first = hidden[frames == 100].argmax(1)
    assert first.min() == 0 and (first > 15).any()
