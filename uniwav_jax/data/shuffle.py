"""Endless shuffled order in which a batch repeats no item while another item is unused.

A stream goes through its items pass by pass, and shuffles them anew in each pass. A batch takes the
next items of the stream, so it may contain the end of one pass and the start of the next.
"""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from uniwav_jax.config import DataConfig
from uniwav_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stream:
    """Segments of a bucket that are used pass by pass.

    Attributes:
        first: place of the first segment in the segment file.
        last: place after the last segment.
        draws: number of segments used in one pass over the data; for a corpus with a weight this
            may be more or less than it has.
        most: maximum number of segments in one batch.
    """

    first: int
    last: int
    draws: Fraction
    most: int


def one_pass(
    number: int, items: int, most: int, random: Callable[..., np.random.Generator]
) -> np.ndarray:
    """The order of pass `number` of a stream, a permutation of `range(items)`, int64.

    Any `most` neighbours in the stream differ, also across the border of two passes. If there are
    fewer items, the numbers of their occurrences among `most` neighbours differ by at most one.

    Args:
        number: number of the pass, from 0.
        items: number of items in the stream.
        most: maximum number of neighbours in one batch, at least 1.
        random: `random(number)` is the generator of a pass, `random()` that of the whole stream.
    """
    if items >= 3 * most:
        order = random(number).permutation(items)
        if number and most > 1:
            # The last `most - 1` items of the previous pass must not be among the first ones of
            # this pass. The last items of this pass do not move, so that a pass depends only on
            # the previous one.
            ended = random(number - 1).permutation(items)[1 - most :]
            early, later = order[: most - 1], order[most - 1 : 2 * most - 2]
            out = np.flatnonzero(np.isin(early, ended))
            into = np.flatnonzero(~np.isin(later, ended))[: len(out)]
            early[out], later[into] = later[into], early[out]
        return order
    # With few items, parts of fixed content follow each other in a fixed order, and only the order
    # inside a part changes. All items of the other parts then come before an item is repeated.
    longest = max(items - most + 1, 1)
    parts = np.array_split(random().permutation(items), -(-items // longest))
    generator = random(number)
    return np.concatenate([generator.permutation(part) for part in parts])


def share_out(start: int, stop: int, weights: list[Fraction]) -> list[tuple[int, int]]:
    """Distribute items `start` to `stop` of a mixture over its streams, in proportion to weights.

    Consecutive ranges of the mixture become consecutive ranges of every stream. With n streams, the
    number of items from each of them differs at any time by less than n from its exact share.

    Returns:
        (start, stop) in each stream; their lengths add up to `stop - start`.
    """
    ranges = []
    left = sum(weights)
    for weight in weights:
        first, last = int(start * weight / left), int(stop * weight / left)
        ranges.append((first, last))
        start, stop, left = start - first, stop - last, left - weight
    return ranges


def streams(first: int, stream_N: np.ndarray, repeats: np.ndarray, rows: int) -> list[Stream]:
    """The streams of a bucket, without empty ones.

    Args:
        first: place of the bucket's first segment in the segment file.
        stream_N: int, the stream of each segment, an index of `repeats`, in increasing order.
        repeats: float [streams], how often a pass over the data uses each stream.
        rows: number of rows of a batch.
    """
    counts = np.bincount(stream_N, minlength=len(repeats)).tolist()
    draws = [count * Fraction(often) for count, often in zip(counts, repeats, strict=True)]
    found = []
    for count, drawn in zip(counts, draws, strict=True):
        if not count:
            continue
        # `share_out` may add up to one item per stream by rounding.
        most = min(math.ceil(rows * drawn / sum(draws)) + len(draws), rows)
        found.append(Stream(first, first + count, drawn, most))
        first += count
    return found


def repeats(data: DataConfig, seconds: np.ndarray) -> np.ndarray:
    """How often a pass uses each corpus so that its audio has the share in `data.weights`.

    The speeds of a source divide its share equally.

    Args:
        data: the settings.
        seconds: float [corpora], usable audio of each corpus at each speed, in any unit.

    Returns:
        float64 [corpora].

    Raises:
        UserError: `data.weights` are not one number for each source.
    """
    if not data.weights:
        return np.ones(len(seconds))
    sources = data.manifest.split(",")
    try:
        wanted = np.array([float(weight) for weight in data.weights.split(",")])
    except ValueError:
        wanted = np.array([])
    if len(wanted) != len(sources) or (wanted < 0).any() or not wanted.sum() > 0:
        raise UserError(
            f"config.data.weights must be {len(sources)} numbers, one for each of"
            f" {data.manifest}; got '{data.weights}'"
        )
    wanted = np.repeat(wanted, len(data.speeds))
    return wanted / wanted.sum() * seconds.sum() / np.maximum(seconds, 1)
