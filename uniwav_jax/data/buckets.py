"""Segments of clips and the padded lengths that they share with others: buckets."""

import itertools
from collections.abc import Sequence

import numpy as np


def segments(lengths: np.ndarray, buckets: np.ndarray, shortest: int) -> np.ndarray:
    """Cut clips into segments: int32 [N, 4], clip, part, parts and bucket index of each.

    Args:
        lengths: of the clips, in samples.
        buckets: rising lengths, in samples. A clip no longer than the last is one segment; a
            longer one is n = round(length / last) segments of that length, the parts 0 to n - 1.
        shortest: clips below so many samples have no segment.

    Returns:
        The segments, in the order of the clips; the bucket is the shortest that holds the segment.
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

    A bucket with fewer segments (or draws in a pass) than its batches have rows goes into the next
    longer one that is used. If the longest one has too few, it takes the longest segments of the
    bucket below it, as many as it needs to fill one batch; or all, if too few would remain there.

    Args:
        bucket_N: the shortest bucket that holds each segment, an index of `rows`.
        length_N: length of each segment.
        draws_N: how often each segment comes in a pass.
        rows: rows of a batch of each bucket.

    Returns:
        The bucket of each segment.
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
        # The fewest with which both the segments and the draws fill a batch.
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
    """What `merge_small` did, in words.

    Args:
        own_N: the shortest bucket that holds each segment, an index of `rows`.
        bucket_N: the bucket that `merge_small` chose.
        seconds: length of each bucket.
        rows: rows of a batch of each bucket.
    """
    lines = []
    counts = np.bincount(own_N, minlength=len(rows))
    moves = np.bincount(own_N * len(rows) + bucket_N, minlength=len(rows) ** 2)
    for (own, bucket), moved in np.ndenumerate(moves.reshape(len(rows), -1)):
        if own == bucket or not moved:
            continue
        why = f"to fill the {rows[bucket]} rows of a batch with longer ones"
        if counts[own] < rows[own]:
            why = f"too few for a batch of {rows[own]} rows"
        lines.append(
            f"{moved} clips up to {seconds[own]:g} s are padded to {seconds[bucket]:g} s: {why}"
        )
    return lines
