"""Phone labels of real speech: Praat TextGrids of a forced aligner, cut into frames."""

import os
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError

SILENCE = "sil"
SILENCES = ("", "sil", "sp", "spn")  # how aligners write silence, pauses and noise


def phones(path: str) -> list[tuple[float, float, str]]:
    """The `phones` tier of a TextGrid as (start, end, phone) in seconds, in order of time.

    Phones are ARPAbet without the stress digit ("AH0" -> "AH"); every kind of silence is "sil".

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with such a tier.
    """
    return [(start, end, _plain(label)) for start, end, label in tier(path, "phones")]


def tier(path: str, name: str) -> list[tuple[float, float, str]]:
    """A tier's intervals as (start, end, label) in seconds, empty ones included.

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with such a tier.
    """
    textgrid = _praatio()
    try:
        tiers = textgrid.openTextgrid(path, includeEmptyIntervals=True)
    except Exception as error:  # praatio raises many kinds for a damaged file
        first_line = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        raise UserError(f"{path} cannot be read as a TextGrid ({first_line})") from error
    if name not in tiers.tierNames:
        raise UserError(
            f"{path} has no tier '{name}' (its tiers: {', '.join(tiers.tierNames)});"
            f" give a TextGrid with the intervals of {name}"
        )
    return [(float(i.start), float(i.end), i.label) for i in tiers.getTier(name)]


def boundary_errors(
    ours: list[tuple[float, float, str]], reference: list[tuple[float, float, str]]
) -> np.ndarray | None:
    """Seconds by which each start and end is too late, float [2 N]; None if the labels differ.

    Silences of the reference and the case of letters do not count.
    """
    theirs = [row for row in reference if row[2].strip().lower() not in SILENCES]
    if [row[2].lower() for row in ours] != [_plain(row[2]).lower() for row in theirs]:
        return None
    starts_ends = [[(row[0], row[1]) for row in rows] for rows in (ours, theirs)]
    return np.subtract(*map(np.asarray, starts_ends)).reshape(-1)


def write(path: str, tiers: dict[str, list[tuple[float, float, str]]], seconds: float) -> None:
    """A TextGrid of interval tiers, {name: (start, end, label) in seconds}, whole or not at all.

    Raises:
        UserError: praatio is not installed.
    """
    textgrid = _praatio()
    grid = textgrid.Textgrid(0.0, seconds)
    for name, intervals in tiers.items():
        kept = [interval for interval in intervals if interval[1] > interval[0]]
        grid.addTier(textgrid.IntervalTier(name, kept, 0.0, seconds))
    grid.save(f"{path}.part", format="long_textgrid", includeBlankSpaces=True)
    os.replace(f"{path}.part", path)


def frame_labels(
    intervals: list[tuple[float, float, str]], frames: int, frame_rate: float
) -> np.ndarray:
    """The label at each frame's centre, (i + 0.5) / frame_rate seconds; str [frames].

    An interval holds its start but not its end; frames in no interval are "sil".
    """
    labels = np.full(frames, SILENCE, dtype="U8")
    centres = (np.arange(frames) + 0.5) / frame_rate
    for start, end, phone in intervals:
        first, last = np.searchsorted(centres, (start, end))
        labels[first:last] = phone
    return labels


def _praatio() -> Any:
    try:
        from praatio import textgrid
    except ImportError as error:
        raise UserError("TextGrids need praatio: pip install praatio") from error
    return textgrid


def _plain(label: str) -> str:
    label = label.strip()
    return SILENCE if label.lower() in SILENCES else label.rstrip("012")
