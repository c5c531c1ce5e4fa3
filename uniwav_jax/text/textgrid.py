"""Praat TextGrids: words and phones of speech with their times, and labels of frames."""

import os
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError

SILENCE = "sil"
SILENCES = ("", "sil", "sp", "spn")  # labels of aligners for silence, pauses and noise


def phones(path: str) -> list[tuple[float, float, str]]:
    """The tier "phones" of a TextGrid as (start, end, phone) in seconds, in order of time.

    Phones are ARPAbet without the stress digit ("AH0" -> "AH"); every kind of silence is "sil".

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with such a tier.
    """
    return [(start, end, _plain(label)) for start, end, label in tier(path, "phones")]


def tier(path: str, name: str) -> list[tuple[float, float, str]]:
    """The intervals of a tier as (start, end, label) in seconds, including empty ones.

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
    """Seconds by which each start and end is too late; None if the labels differ.

    Silences of the reference and the case of letters are ignored.

    Args:
        ours, reference: (start, end, label) in seconds, in order of time.

    Returns:
        float [2 n] of n intervals: start and end of the first, of the second, ...
    """
    theirs = [row for row in reference if row[2].strip().lower() not in SILENCES]
    if [row[2].lower() for row in ours] != [_plain(row[2]).lower() for row in theirs]:
        return None
    starts_ends = [[(row[0], row[1]) for row in rows] for rows in (ours, theirs)]
    return np.subtract(*map(np.asarray, starts_ends)).reshape(-1)


def write(path: str, tiers: dict[str, list[tuple[float, float, str]]], seconds: float) -> None:
    """Write a TextGrid; the file appears complete or not at all.

    Args:
        path: the file.
        tiers: {name: intervals (start, end, label) in seconds}.
        seconds: length of the TextGrid.

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
    """The label at the centre of each frame, (i + 0.5) / frame_rate seconds; str [frames].

    An interval includes its start and excludes its end; frames in no interval are "sil".

    Args:
        intervals: (start, end, label) in seconds.
        frames: number of frames.
        frame_rate: frames per second.
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
