"""Cuts clips into segments and groups segments into buckets, which have one padded length each."""

import itertools
from collections.abc import Sequence

import numpy as np


def segments(lengths: np.ndarray, buckets: np.ndarray, shortest: int) -> np.ndarray:
    """Cut clips into segments.

    Args:
        lengths: int64 [clips], lengths of the clips in samples.
        buckets: int64 [buckets], padded lengths in samples, in increasing order. A clip no longer
            than the last one is one segment; a longer clip is n = round(length / last) segments of
            that length, which are its parts 0 to n - 1.
        shortest: clips with fewer samples have no segment.

    Returns:
        int32 [N, 4] in the order of the clips: index of the clip, part, number of parts, and index
        of the shortest bucket into which the segment fits.
    """
    longest = buckets[-1]
    parts = np.where(lengths < shortest, 0, np.maximum(1, np.round(lengths / longest)))
    parts = parts.astype(np.int64)
    clip = np.repeat(np.arange(len(lengths)), parts)
    part = np.arange(len(clip)) - np.repeat(np.cumsum(parts) - parts, parts)
    bucket = np.searchsorted(buckets, np.minimum(lengths, longest)[clip])
    return np.stack([clip, part, parts[clip], bucket], 1).astype(np.int32)


def merge_small(
    bucket_N: np.ndarray, length_N: np.ndarray, draws_N: np.ndarray, rows: list[int]
) -> np.ndarray:
    """Pad some segments to a longer bucket than they need, so that every bucket fills a batch.

    A bucket with fewer segments (or uses of them in a pass) than a batch has rows is merged into
    the next longer one in use. If the longest bucket has too few, it takes the longest segments of
    the bucket below it, as many as it needs to fill one batch, or all if too few would remain.

    Args:
        bucket_N: int, the shortest bucket into which each segment fits, an index of `rows`.
        length_N: int, length of each segment in samples.
        draws_N: float, how often each segment is used in a pass.
        rows: number of rows of a batch, for each bucket.

    Returns:
        The bucket of each segment, int [N].
    """
    bucket_N = bucket_N.copy()
    used = np.flatnonzero(np.bincount(bucket_N)).tolist()

    def lacks(chosen: np.ndarray, bucket: int) -> bool:
        return min(len(chosen), draws_N[chosen].sum()) < rows[bucket]

    for bucket, longer in itertools.pairwise(used):
        inside = np.flatnonzero(bucket_N == bucket)
        if lacks(inside, bucket):
            bucket_N[inside] = longer
    longest = used[-1]
    for bucket in reversed(used[:-1]):
        few, lender = (np.flatnonzero(bucket_N == b) for b in (longest, bucket))
        if not lacks(few, longest):
            break
        lender = lender[np.argsort(-length_N[lender], kind="stable")]
        # The smallest number with which both the segments and their uses fill a batch.
        count = rows[longest] - len(few)
        filled = draws_N[few].sum() + np.cumsum(draws_N[lender])
        count = max(count, 1 + int(np.searchsorted(filled, rows[longest])))
        if lacks(lender[count:], bucket):
            count = len(lender)
        bucket_N[lender[:count]] = longest
    return bucket_N


def describe(
    own_N: np.ndarray, bucket_N: np.ndarray, seconds: Sequence[float], rows: list[int]
) -> list[str]:
    """Sentences about the changes that `merge_small` made.

    Args:
        own_N: int, the shortest bucket into which each segment fits, an index of `rows`.
        bucket_N: int, the bucket that `merge_small` chose.
        seconds: length of each bucket.
        rows: number of rows of a batch, for each bucket.
    """
    lines = []
    counts = np.bincount(own_N, minlength=len(rows))
    moves = np.bincount(own_N * len(rows) + bucket_N, minlength=len(rows) ** 2)
    for (own, bucket), moved in np.ndenumerate(moves.reshape(len(rows), -1)):
        if own == bucket or not moved:
            continue
        why = f"to fill the {rows[bucket]} rows of a batch of longer clips"
        if counts[own] < rows[own]:
            why = f"because they are too few for a batch of {rows[own]} rows"
        lines.append(
            f"{moved} clips up to {seconds[own]:g} s are padded to {seconds[bucket]:g} s {why}"
        )
    return lines
