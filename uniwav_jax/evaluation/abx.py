"""ABX errors of frames on phones, within and across speakers, by the package fastabx.

Of three phones A, B and X in the same context, where A and X are equal, the error is the share of
triples in which X is nearer to B (ZeroSpeech 2021; chance is 0.5). The distance is the angle
between frames along the best alignment; of codes it is whether they are equal.
"""

import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation.units import Clips
from uniwav_jax.types import Batch

# As in ZeroSpeech: phones of a kind in a context, and X for each A and B across speakers, at most.
MOST_PHONES, MOST_X = 10, 5
COLUMNS = "#file onset offset #phone prev-phone next-phone speaker"
Frames = Callable[[Batch], tuple[jax.Array, jax.Array]]


def require() -> Any:
    """The package fastabx.

    Raises:
        UserError: it is not installed.
    """
    try:
        import fastabx
    except ImportError as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise UserError(
            f"--abx needs 'pip install \"uniwav_jax[abx]\"', on Python 3.12 or newer; this is"
            f" {version}"
        ) from error
    return fastabx


def add(table: list[dict[str, float]], read: Frames, clips: Clips, *, frame_rate: int) -> None:
    """Add "abx_within" and "abx_across" to each layer of a table.

    Args:
        table: one dict for each layer.
        read: function of a batch that returns layers, float32 [L, B, T, D], and real frames.
        clips: speech with labels and speakers.
        frame_rate: frames per second.
    """
    frames: list[np.ndarray] = []
    for batch in clips.batches:
        layers_LxBxTxD, mask_BxT = jax.device_get(read(batch))
        frames += [layers_LxBxTxD[:, row, mask] for row, mask in enumerate(mask_BxT) if mask.any()]
    for number, layer in enumerate(table):
        layer |= errors([clip[number] for clip in frames], clips, frame_rate=frame_rate)


def errors(
    frames: list[np.ndarray], clips: Clips, *, frame_rate: int, distance: str = "angular"
) -> dict[str, float]:
    """The two error rates of one layer, {"abx_within", "abx_across"}.

    Args:
        frames: [T, D] of each clip; of codes [T, 1].
        clips: speech with labels and speakers.
        frame_rate: frames per second.
        distance: "angular", or "identical" for codes.
    """
    fastabx = require()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for number, clip in enumerate(frames):
            np.save(root / f"{number}.npy", np.asarray(clip))
        item = root / "phones.item"
        item.write_text("\n".join([COLUMNS, *_phones(clips, frame_rate)]) + "\n")
        found = {}
        for speaker, most in (("within", None), ("across", MOST_X)):
            found[f"abx_{speaker}"] = fastabx.zerospeech_abx(
                item,
                root,
                max_size_group=MOST_PHONES,
                max_x_across=most,
                speaker=speaker,
                distance=distance,
                frequency=frame_rate,
                feature_maker=_tensor,
                extension=".npy",
                device="cpu",
                progress=False,
            )
    return found


def _tensor(path: str | pathlib.Path) -> Any:
    import torch

    return torch.from_numpy(np.load(path))


def _phones(clips: Clips, frame_rate: int) -> list[str]:
    """Lines of an item file: the phones that have another one on both sides."""
    lines = []
    for number, (labels, speaker) in enumerate(zip(clips.labels, clips.speakers, strict=True)):
        starts = np.flatnonzero(labels[1:] != labels[:-1]) + 1
        for place in range(len(starts) - 1):
            start, end = int(starts[place]), int(starts[place + 1])
            phone, before, after = labels[start], labels[start - 1], labels[end]
            seconds = f"{start / frame_rate:.4f} {end / frame_rate:.4f}"
            lines.append(f"{number} {seconds} {phone} {before} {after} {speaker or 'unknown'}")
    return lines
