"""Long audio in overlapping windows: bounded memory, and few shapes to compile."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass
class Window:
    """A piece of one file, and the frames that are used of it.

    Attributes:
        audio: float32 [left + samples + right], the window with its context; zero beyond the file.
        samples: samples of the window without the context.
        first: frame of the file at which the window starts.
        keep: first and last (excluded) of the window's frames that become the file's result.
        last: whether this is the file's last window.
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

    Each window contributes its central frames; the first also its start, the last also its end. So
    each frame is computed with `overlap` frames on both sides, and a file that fits into one window
    is computed whole.

    Args:
        blocks: float32 waveform in pieces of any length.
        hop: samples per frame.
        window: frames of a window.
        overlap: frames at each end of a window that are taken from its neighbour.
        context: samples left and right of a window that the surface features read.
    """
    left, right = context
    step = window - 2 * overlap
    if step <= 0:
        raise ValueError(f"a window of {window} frames is not longer than 2 x {overlap}")
    waiting = [np.zeros(left, np.float32)]
    count, first = left, 0  # samples in `waiting`, which start `left` before frame `first`

    def window_at(samples: int, last: bool) -> Window:
        nonlocal waiting
        whole = np.concatenate(waiting)
        waiting = [whole]
        audio = whole[: left + samples + right]
        audio = np.pad(audio, (0, left + samples + right - len(audio)))
        frames = -(-samples // hop)
        keep = (overlap if first else 0, frames if last else frames - overlap)
        return Window(audio, samples, first, keep, last)

    for block in blocks:
        waiting.append(np.asarray(block, np.float32))
        count += len(block)
        # A window is known not to be the last once there are samples beyond it.
        while count > left + window * hop + right:
            yield window_at(window * hop, last=False)
            waiting = [waiting[0][step * hop :]]
            count, first = count - step * hop, first + step
    while count - left > window * hop:
        yield window_at(window * hop, last=False)
        waiting = [waiting[0][step * hop :]]
        count, first = count - step * hop, first + step
    if count > left:
        yield window_at(count - left, last=True)
