"""An endless shuffled order: no item comes twice in a batch while another one is unused.

A stream goes through its items pass by pass, each pass in an order of its own. A batch takes the
next items of the stream, so it may hold the end of one pass and the start of the next.
"""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np


@dataclasses.dataclass(frozen=True)
class Stream:
    """Segments of a bucket, which are used pass by pass.

    Attributes:
        first: place of the first segment in the segment file.
        last: place after the last one.
        draws: how many come in one pass over the data; a corpus with a weight may take more or
            fewer than it has.
        most: how many can come into one batch.
    """

    first: int
    last: int
    draws: Fraction
    most: int


def one_pass(
    number: int, items: int, most: int, random: Callable[..., np.random.Generator]
) -> np.ndarray:
    """The order of pass `number` of a stream, a permutation of `range(items)`, int64.

    Any `most` neighbours in the stream differ, across the border of two passes too. With fewer
    items than that, each of them comes equally often among the neighbours, or once more.

    Args:
        number: counts passes from 0.
        items: how many items the stream has.
        most: how many neighbours can come into one batch, at least 1.
        random: `random(number)` is the generator of a pass, `random()` that of the whole stream.
    """
    if items >= 3 * most:
        order = random(number).permutation(items)
        if number and most > 1:
            # The last `most - 1` items of the previous pass stay out of the first of this one.
            # Its own last ones are not moved, so that no pass depends on more than one other.
            ended = random(number - 1).permutation(items)[1 - most :]
            early, later = order[: most - 1], order[most - 1 : 2 * most - 2]
            out = np.flatnonzero(np.isin(early, ended))
            into = np.flatnonzero(~np.isin(later, ended))[: len(out)]
            early[out], later[into] = later[into], early[out]
        return order
    # Few items: parts of fixed content follow one another in fixed order, and only inside a part
    # the order changes. An item then waits for all items of the other parts before it comes back.
    longest = max(items - most + 1, 1)
    parts = np.array_split(random().permutation(items), -(-items // longest))
    generator = random(number)
    return np.concatenate([generator.permutation(part) for part in parts])


def share_out(start: int, stop: int, weights: list[Fraction]) -> list[tuple[int, int]]:
    """Distribute draws `start` to `stop` of a mixture over its streams, in proportion to weights.

    Consecutive ranges of the mixture become consecutive ranges of every stream. From the beginning
    to any draw each stream is less than one draw per stream away from its exact share.

    Returns:
        (start, stop) of each stream; their lengths add up to `stop - start`.
    """
    ranges = []
    left = sum(weights)
    for weight in weights:
        first, last = int(start * weight / left), int(stop * weight / left)
        ranges.append((first, last))
        start, stop, left = start - first, stop - last, left - weight
    return ranges


def streams(first: int, stream_N: np.ndarray, repeats: np.ndarray, rows: int) -> list[Stream]:
    """Streams of a bucket.

    Args:
        first: place of the bucket's first segment in the segment file.
        stream_N: the stream of each segment, an index of `repeats`; the segments lie in its order.
        repeats: how often a pass over the data goes through each stream.
        rows: rows of a batch.
    """
    counts = np.bincount(stream_N, minlength=len(repeats)).tolist()
    draws = [count * Fraction(often) for count, often in zip(counts, repeats, strict=True)]
    found = []
    for count, drawn in zip(counts, draws, strict=True):
        if not count:
            continue
        # `share_out` rounds once per stream.
        most = min(math.ceil(rows * drawn / sum(draws)) + len(draws), rows)
        found.append(Stream(first, first + count, drawn, most))
        first += count
    return found
