"""What the commands share: the files that they read, and errors of single files."""

import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from uniwav_jax.data.partners import short_names
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress


def find(given: Sequence[str], endings: tuple[str, ...]) -> list[tuple[str, str]]:
    """Path and name of each file: those given, and those with one of the endings in folders.

    The name of a file in a folder is its path in that folder. The name of a given file is its last
    component; where several given files would have the same name, it is the path below the folder
    that they have in common. Hidden files in folders are skipped, such as the stubs `._NAME.wav`
    that macOS leaves on other file systems.

    Raises:
        UserError: a path does not exist, or a folder has no such file.
    """
    found, single = [], []
    for source in map(pathlib.Path, given):
        if source.is_dir():
            inside = [
                path.relative_to(source)
                for path in sorted(source.rglob("*"))
                if path.suffix.lower() in endings and not path.name.startswith(".")
            ]
            if not inside:
                raise UserError(f"no {', '.join(endings)} below {source}")
            found += [(str(source / name), str(name)) for name in inside]
        elif source.exists():
            single.append(len(found))
            found.append((str(source), source.name))
        else:
            raise UserError(f"{source} does not exist")
    for place, name in zip(single, short_names([found[place][0] for place in single])):
        found[place] = (found[place][0], name)
    return found


def check_names(names: Iterable[str]) -> None:
    """Check that the result of no file would replace that of another.

    Raises:
        UserError: names two files whose results would have the same name.
    """
    first: dict[pathlib.PurePath, str] = {}
    for name in names:
        other = first.setdefault(pathlib.PurePath(name).with_suffix(""), name)
        if other != name:
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
