"""Files that belong to clips, such as TextGrids, by relative path or by an unambiguous name."""

import collections
import os
import pathlib
from collections.abc import Sequence

from uniwav_jax.audio import folders
from uniwav_jax.errors import UserError


def match(names: Sequence[str], folder: str, suffix: str) -> list[str | None]:
    """The file below `folder` that belongs to each clip.

    A file belongs to the clip with which it shares the most components at the end of its path,
    without the suffix: b/x.TextGrid belongs to corpus/b/x.wav, and x.TextGrid to the only x.wav.

    Args:
        names: paths of the clips, relative or absolute.
        folder: searched with all its subfolders; hidden files are skipped.
        suffix: ".TextGrid", for example, in any case.

    Returns:
        A path, or None for a clip without a file.

    Raises:
        UserError: there is no such folder, or it is not clear which file belongs to a clip.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder}: no such folder of {suffix} files")
    by_stem: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
    for path in folders.find(root, (suffix.lower(),)):
        by_stem[path.stem].append(path)

    chosen: list[tuple[pathlib.PurePath, int] | None] = []
    owners: dict[pathlib.PurePath, dict[int, list[str]]] = {}
    for name in names:
        found = by_stem.get(pathlib.PurePath(name).stem, ())
        scores = [_common(name, path) for path in found]
        best = [path for path, score in zip(found, scores) if score == max(scores)]
        if len(best) > 1:
            raise UserError(
                f"{name}: both {best[0]} and {best[1]} in {folder} could belong to it; arrange them"
                " in the same folders as the clips"
            )
        chosen.append((best[0], max(scores)) if best else None)
        if best:
            owners.setdefault(best[0], {}).setdefault(max(scores), []).append(name)
    for path, claims in owners.items():
        first, *others = dict.fromkeys(claims[max(claims)])
        if others:
            raise UserError(
                f"{root / path} could belong to {first} and to {others[0]}; arrange the {suffix}"
                " files in the same folders as the clips"
            )
    return [
        str(root / choice[0]) if choice and choice[1] == max(owners[choice[0]]) else None
        for choice in chosen
    ]


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for the results of files: their last components, if no two files have the same one.

    Otherwise the paths below the folder that all files have in common.
    """
    absolute = [os.path.abspath(path) for path in paths]
    if len({os.path.basename(path) for path in absolute}) == len(set(absolute)):
        return [os.path.basename(path) for path in absolute]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, common) for path in absolute]


def _common(name: str, path: pathlib.PurePath) -> int:
    """Number of equal components at the ends of two paths, without their suffixes."""
    pairs = zip(
        reversed(pathlib.PurePath(name).with_suffix("").parts), reversed(path.with_suffix("").parts)
    )
    count = 0
    for ours, theirs in pairs:
        if ours != theirs:
            break
        count += 1
    return count
