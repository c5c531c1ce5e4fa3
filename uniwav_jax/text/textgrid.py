"""Praat TextGrids: words and phones of speech with their times, and labels of frames."""

import os
import re
import tempfile
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.text.files import read_text
from uniwav_jax.text.lexicon import without_stress

SILENCE = "sil"
# Labels of aligners for silence, pauses and noise: the Montreal Forced Aligner, Kaldi, MAUS, TIMIT.
SILENCES = ("", "sil", "sp", "spn", "<sil>", "<eps>", "<p>", "<p:>", "<s>", "</s>", "h#")
# praatio 6.2 reads a negative time as a positive one.
NEGATIVE = re.compile(r"^\s*(?:(?:xmin|xmax|number|time)\s*=\s*)?-\s*\d[\d.eE-]*\s*$", re.MULTILINE)
# A line with a time in scientific notation, which Praat writes and praatio 6.2 does not read.
EXPONENT = re.compile(
    r"^(\s*(?:(?:xmin|xmax|number|time)\s*=\s*)?)(\d+(?:\.\d*)?[eE][-+]?\d+)(?=\s*$)", re.MULTILINE
)
# A label in quotation marks, which are doubled inside, or a comment of Praat up to the line's end.
COMMENT = re.compile(r'("(?:[^"]|"")*")|^[ \t]*![^\n]*\n|[ \t]*![^\n]*', re.MULTILINE)


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
    space at their ends. The name of a tier may differ in case, and the aligner's "SPEAKER - words"
    is found where there is one speaker.

    Raises:
        UserError: praatio is not installed, or the file is no TextGrid with intervals in such a
            tier.
    """
    tiers = _open(path)
    matching = [t for t in tiers.tierNames if t.strip().lower() == name]
    matching = matching or [t for t in tiers.tierNames if t.lower().endswith(f" - {name}")]
    if len(matching) > 1:
        raise UserError(
            f"{path} has several tiers of {name} ({', '.join(matching)}); give each speaker a"
            " TextGrid and a clip"
        )
    if not matching:
        raise UserError(
            f"{path} has no tier '{name}' (its tiers: {', '.join(tiers.tierNames)});"
            f" give a TextGrid with the intervals of {name}"
        )
    entries = tiers.getTier(matching[0]).entries
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
        text = read_text(path)
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path} cannot be read as a TextGrid ({reason})") from error
    text = COMMENT.sub(lambda found: found[1] or "", text)  # praatio 6.2 stops at some comments
    if NEGATIVE.search(text):
        raise UserError(f"{path} has negative times; shift them in Praat so that the audio is at 0")
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".TextGrid", encoding="utf-8") as file:
            file.write(EXPONENT.sub(_plain_number, text))
            file.flush()
            options = {"includeEmptyIntervals": True, "reportingMode": "silence"}
            return textgrid.openTextgrid(file.name, **options)
    except Exception as error:  # praatio raises many kinds for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a TextGrid ({reason.rstrip('.')}); correct it in Praat, and"
            " save it there as a text file"
        ) from error


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
