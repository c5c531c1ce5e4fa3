"""Praat TextGrids: words and phones of speech with their times, and labels of frames."""

import codecs
import os
import pathlib
import re
import tempfile
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.text.lexicon import without_stress

SILENCE = "sil"
SILENCES = ("", "sil", "sp", "spn")  # labels of aligners for silence, pauses and noise
# A line with a time in scientific notation, which Praat writes and praatio 6.2 does not read.
EXPONENT = re.compile(
    r"^(\s*(?:(?:xmin|xmax|number|time)\s*=\s*)?)(\d+(?:\.\d*)?[eE][-+]?\d+)(?=\s*$)", re.MULTILINE
)


def phones(path: str) -> list[tuple[float, float, str]]:
    """The tier "phones" of a TextGrid as (start, end, phone) in seconds, in order of time.

    Phones are ARPAbet without the stress digit ("AH0" -> "AH"); every kind of silence is "sil".

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with such a tier.
    """
    return [(start, end, _plain(label)) for start, end, label in tier(path, "phones")]


def tier(path: str, name: str) -> list[tuple[float, float, str]]:
    """The intervals of a tier as (start, end, label) in seconds, including empty ones.

    They cover the whole TextGrid: gaps become intervals with the label "". Labels have no white
    space at their ends.

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with intervals in such a
            tier.
    """
    tiers = _open(path)
    if name not in tiers.tierNames:
        raise UserError(
            f"{path} has no tier '{name}' (its tiers: {', '.join(tiers.tierNames)});"
            f" give a TextGrid with the intervals of {name}"
        )
    entries = tiers.getTier(name).entries
    if not entries or len(entries[0]) != 3:
        kind = "points" if entries else "nothing"
        raise UserError(f"{path}: its tier '{name}' has {kind} in it; it must have intervals")
    intervals, place = [], float(tiers.minTimestamp)
    for start, end, label in sorted(entries):
        if start > place:
            intervals.append((place, float(start), ""))
        intervals.append((float(start), float(end), label.strip()))
        place = float(end)
    if tiers.maxTimestamp > place:
        intervals.append((place, float(tiers.maxTimestamp), ""))
    return intervals


def is_silence(label: str) -> bool:
    """Whether a label means silence, a pause or noise, in any case: "", "SIL", "sp", "spn"."""
    return label.strip().lower() in SILENCES


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
    theirs = [row for row in reference if not is_silence(row[2])]
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
        within = ((start, min(end, seconds), label) for start, end, label in intervals)
        kept = [interval for interval in within if interval[1] > interval[0]]
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


def _open(path: str) -> Any:
    """The file as praatio's Textgrid."""
    textgrid = _praatio()
    try:
        content = pathlib.Path(path).read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
        with tempfile.NamedTemporaryFile("w", suffix=".TextGrid", encoding="utf-8") as file:
            file.write(EXPONENT.sub(_plain_number, text))
            file.flush()
            return textgrid.openTextgrid(file.name, includeEmptyIntervals=True)
    except Exception as error:  # praatio raises many kinds for a damaged file
        first_line = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UserError(f"{path} cannot be read as a TextGrid ({first_line})") from error


def _plain_number(found: re.Match[str]) -> str:
    return f"{found[1]}{float(found[2]):.17f}"


def _praatio() -> Any:
    try:
        from praatio import textgrid
    except ImportError as error:
        raise UserError("TextGrids need praatio: pip install praatio") from error
    return textgrid


def _plain(label: str) -> str:
    label = label.strip()
    return SILENCE if is_silence(label) else without_stress(label)
