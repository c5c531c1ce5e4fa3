"""What the commands share: the files that they read, and errors of single files."""

import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from uniwav_jax.audio import folders
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress


def find(given: Sequence[str], endings: tuple[str, ...]) -> list[tuple[str, str]]:
    """Path and name of each file: those given, and those with one of the endings in folders.

    The name of a file in a folder is its path in that folder, and the name of a given file is its
    last component. Where several files would have the same name, all names are the paths below the
    folder that everything given has in common. A file that is given twice is taken once. Hidden
    files in folders are skipped (`audio.folders`).

    Raises:
        UserError: a path does not exist, or a folder has no such file.
    """
    found: dict[str, tuple[str, str]] = {}  # by absolute path
    places = []
    for source in map(pathlib.Path, given):
        if source.is_dir():
            inside = folders.find(source, endings)
            if not inside:
                raise UserError(f"no {', '.join(endings)} below {source}")
            places.append(source)
        elif source.exists():
            inside = [pathlib.Path(source.name)]
            places.append(source.parent)
        else:
            raise UserError(f"{source} does not exist")
        for name in inside:
            path = places[-1] / name
            found.setdefault(os.path.abspath(path), (str(path), str(name)))
    if len({name for _, name in found.values()}) == len(found):
        return list(found.values())
    common = os.path.commonpath(list(map(os.path.abspath, places)))
    return [(path, os.path.relpath(place, common)) for place, (path, _) in found.items()]


def check_names(names: Iterable[str]) -> None:
    """Check that the result of no file would replace that of another.

    Raises:
        UserError: names two files whose results would have the same name.
    """
    first: dict[pathlib.PurePath, str] = {}
    for name in names:
        result = pathlib.PurePath(name).with_suffix("")
        other = first.get(result)
        first[result] = name
        if other is not None:
            raise UserError(
                f"the results of {other} and {name} would have the same name; rename one of them,"
                " or run the command once for each, with another --out"
            )


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
