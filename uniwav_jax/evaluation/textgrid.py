"""Phone labels of real speech: Praat TextGrids of a forced aligner, cut into frames."""

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
    try:
        from praatio import textgrid
    except ImportError as error:
        raise UserError("reading TextGrids needs praatio: pip install praatio") from error
    try:
        tiers = textgrid.openTextgrid(path, includeEmptyIntervals=True)
    except Exception as error:  # praatio raises many kinds for a damaged file
        first_line = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        raise UserError(f"{path} cannot be read as a TextGrid ({first_line})") from error
    if "phones" not in tiers.tierNames:
        raise UserError(
            f"{path} has no tier 'phones' (its tiers: {', '.join(tiers.tierNames)});"
            " give a TextGrid with phone intervals"
        )
    return [(float(i.start), float(i.end), _plain(i.label)) for i in tiers.getTier("phones")]


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


def _plain(label: str) -> str:
    label = label.strip()
    return SILENCE if label.lower() in SILENCES else label.rstrip("012")
