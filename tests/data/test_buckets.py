"""Segments of clips, and the buckets to which they are padded."""

import numpy as np

from uniwav_jax.data import buckets

LENGTHS = np.array([10, 11, 20, 21, 29, 30, 49, 50, 5])


def test_segments():
    """One segment up to the longest bucket (20), round(n / 20) of longer clips, none below 8."""
    found = buckets.segments(LENGTHS, np.array([10, 20]), 8)
    assert found.dtype == np.int32
    parts = {clip: (found[found[:, 0] == clip][:, 1:3]).tolist() for clip in range(len(LENGTHS))}
    assert parts[0] == parts[2] == parts[3] == parts[4] == [[0, 1]]
    assert parts[5] == parts[6] == [[0, 2], [1, 2]]
    assert parts[7] == [[0, 2], [1, 2]]  # NumPy rounds 2.5 to 2
    assert parts[8] == []
    assert found[found[:, 0] < 4][:, 3].tolist() == [0, 1, 1, 1]


def merged(counts, rows):
    """Number of segments in each bucket after merging; each is used once in a pass."""
    bucket = np.repeat(np.arange(len(counts)), counts)
    length = 10 * bucket + np.concatenate([np.arange(count) for count in counts])
    new = buckets.merge_small(bucket, length, np.ones(len(bucket), int), rows)
    assert (new >= bucket)[new != bucket].all()
    return np.bincount(new, minlength=len(counts)).tolist()


def test_small_buckets_are_merged_into_longer_ones():
    assert merged([8, 8, 8], [8, 4, 2]) == [8, 8, 8]
    assert merged([7, 8, 8], [8, 4, 2]) == [0, 15, 8]
    assert merged([7, 0, 8], [8, 4, 2]) == [0, 0, 15]  # they move to the next bucket in use
    assert merged([8, 8, 1], [8, 4, 2]) == [8, 7, 2]  # the longest bucket takes as many as it needs
    assert merged([8, 4, 1], [8, 4, 2]) == [8, 0, 5]  # or all, if too few would remain
    assert merged([3, 0, 0], [8, 4, 2]) == [3, 0, 0]


def test_the_longest_segments_move():
    bucket, length = np.array([0, 0, 0, 1]), np.array([5, 9, 7, 15])
    new = buckets.merge_small(bucket, length, np.ones(4, int), [2, 2])
    assert new.tolist() == [0, 1, 0, 1]


def test_moves_are_described():
    own, new = np.array([0, 0, 1, 1, 1]), np.array([1, 1, 1, 1, 2])
    lines = buckets.describe(own, new, [1.0, 2.0, 4.0], [4, 2, 1])
    assert lines == [
        "2 clips up to 1 s are padded to 2 s because they are too few for a batch of 4 rows",
        "1 clips up to 2 s are padded to 4 s to fill the 1 rows of a batch of longer clips",
    ]
