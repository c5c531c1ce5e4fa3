"""A progress bar for commands that take long; nothing where the output is not a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int | None = None, label: str = "") -> Iterator[Item]:
    """The items, with a bar that moves as they are taken.

    Args:
        items: what is worked on.
        total: how many there are; None: `len(items)`.
        label: words before the bar.
    """
    if not sys.stdout.isatty():
        yield from items
        return
    from rich.progress import track  # a tenth of a second that short commands do not need

    yield from track(items, label, total)
