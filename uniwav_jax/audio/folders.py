"""Which files a folder has, for every command in the same way."""

import os
import pathlib


def find(folder: str | os.PathLike[str], endings: tuple[str, ...]) -> list[pathlib.Path]:
    """The files in a folder and its subfolders with one of the endings in any case, sorted.

    Hidden files and folders are skipped, because macOS leaves stubs `._NAME.wav` on other file
    systems. Links to folders are followed, each folder once.

    Args:
        folder: an existing folder.
        endings: suffixes in lower case, such as ".wav".

    Returns:
        Paths relative to `folder`.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # Links come last, so that a folder has its own name where both are there.
        folders[:] = sorted(
            (name for name in folders if not name.startswith(".")),
            key=lambda name: (os.path.islink(os.path.join(place, name)), name),
        )
        if real in seen:  # reached again by a link
            folders.clear()
            continue
        seen.add(real)
        within = pathlib.Path(place).relative_to(folder)
        found += [
            within / name
            for name in names
            if os.path.splitext(name)[1].lower() in endings and not name.startswith(".")
        ]
    return sorted(found)
