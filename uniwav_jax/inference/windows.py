"""Long audio in overlapping windows: bounded memory, and few shapes to compile."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass
class Window:
    """A piece of one file, and which of its frames count.

    Attributes:
        audio: float32 [left + samples + right], with the audio around it; zero beyond the file.
        samples: how many there are without that.
        first: frame of the file at which the window starts.
        keep: first and last (excluded) of the window's frames that no other window knows better.
        last: nothing of the file follows.
    """

    audio: np.ndarray
    samples: int
    first: int
    keep: tuple[int, int]
    last: bool


def cut(
    blocks: Iterable[np.ndarray],
    *,
    hop: int,
    window: int,
    overlap: int,
    context: tuple[int, int] = (0, 0),
) -> Iterator[Window]:
    """Windows of `window` frames whose neighbours share 2 `overlap` of them.

    Each keeps its middle; what the first and the last have before and behind it as well. So each
    kept frame has seen `overlap` frames on both sides, and a file of one window all of itself.

    Args:
        blocks: float32 waveform in pieces of any length.
        hop: samples per frame.
        window: frames of a window.
        overlap: frames at a window's ends that are left to its neighbour.
        context: samples around a window that the features read.
    """
    left, right = context
    step = window - 2 * overlap
    if step <= 0:
        raise ValueError(f"a window of {window} frames has no middle beside 2 x {overlap}")
    held = [np.zeros(left, np.float32)]
    count, first = left, 0  # samples held, which start `left` before frame `first`

    def window_at(samples: int, last: bool) -> Window:
        nonlocal held
        whole = np.concatenate(held)
        held = [whole]
        audio = whole[: left + samples + right]
        audio = np.pad(audio, (0, left + samples + right - len(audio)))
        frames = -(-samples // hop)
        keep = (overlap if first else 0, frames if last else frames - overlap)
        return Window(audio, samples, first, keep, last)

    for block in blocks:
        held.append(np.asarray(block, np.float32))
        count += len(block)
        # Only what lies beyond a window makes it sure that it is not the last.
        while count > left + window * hop + right:
            yield window_at(window * hop, last=False)
            held = [held[0][step * hop :]]
            count, first = count - step * hop, first + step
    while count - left > window * hop:
        yield window_at(window * hop, last=False)
        held = [held[0][step * hop :]]
        count, first = count - step * hop, first + step
    if count > left:
        yield window_at(count - left, last=True)
