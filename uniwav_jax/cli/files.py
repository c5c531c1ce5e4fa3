"""What the commands share: the files that they read, and errors of single files."""

import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress


def find(given: Sequence[str], endings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Path and name of each file: those given, and those with one of the endings in folders.

    The name of a file in a folder is its path below that folder.

    Raises:
        UserError: a path does not exist, or a folder has no such file.
    """
    for source in map(pathlib.Path, given):
        if source.is_dir():
            found = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in endings]
            if not found:
                raise UserError(f"no {', '.join(endings)} below {source}")
            yield from ((str(path), str(path.relative_to(source))) for path in found)
        elif source.exists():
            yield str(source), source.name
        else:
            raise UserError(f"{source} does not exist")


def run(model: Any, items: Sequence[tuple]) -> Iterator[tuple[tuple, Any]]:
    """Each item, whose first entry is the path of an audio file, with the model's result for it.

    Args:
        model: an `inference.windowed.WindowedModel`.
        items: what `find` gives, for example.

    Yields:
        Pairs of an item and the result, or the `UserError` of reading the file.
    """
    from uniwav_jax.inference import waves

    rate = model.features.sample_rate
    files = ((item, waves.blocks(item[0], None, sample_rate=rate)) for item in items)
    yield from progress(model.run(files), len(items))


def report(error: object) -> int:
    """Print the error of one file, while the others are still worked on; returns 1."""
    print(f"error: {error}", file=sys.stderr)
    return 1
