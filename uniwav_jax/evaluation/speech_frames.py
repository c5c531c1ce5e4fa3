"""Normalised frames of a manifest's speech, as training computes them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from uniwav_jax.evaluation import units
from uniwav_jax.evaluation.systems import System
from uniwav_jax.features import statistics
from uniwav_jax.features.batch import surface
from uniwav_jax.models import masking
from uniwav_jax.types import Batch, PyTree

BATCH_SECONDS = 64.0
# Function of a batch that returns frames, float32 [1, B, T, C], and real frames, bool [B, T].
Read = Callable[[Batch], tuple[jax.Array, jax.Array]]


class Frames(NamedTuple):
    """Speech in batches, and what normalises its frames.

    Attributes:
        clips: the batches, and phones if they were read with alignments.
        params: the features' parameters: "mean" and "std", float32 [C], and a codec's weights.
    """

    clips: units.Clips
    params: PyTree


def read(
    system: System,
    manifest: str,
    *,
    alignments: str | None = None,
    limit: int | None = None,
    params: PyTree | None = None,
) -> Frames:
    """Read speech and measure what normalises its frames.

    Args:
        system: what the frames are of.
        manifest: of the speech; clips are cut at 16 s.
        alignments: folder of TextGrids, to read only the clips that have one; None: all clips.
        limit: largest number of clips, spread over the manifest; None: all.
        params: parameters measured on other speech; None: measure them on this speech.

    Raises:
        UserError: as `units.read_clips`.
    """
    features = system.features
    options = {"limit": limit, "batch_seconds": BATCH_SECONDS}
    clips = units.read_clips(manifest, alignments, features=features, **options)
    if params is None:
        items = ({"audio": batch.audio, "samples": batch.samples} for batch in clips.batches)
        measured = statistics.measure(features, items, seconds=float("inf"))
        params = jax.device_put({**measured, **features.weights})
    return Frames(clips, params)


def make_read(system: System, params: PyTree) -> Read:
    """Compile `batch -> frames float32 [1, B, T, C], real frames bool [B, T]`.

    Args:
        system: what the frames are of.
        params: the features' parameters.
    """

    @jax.jit
    def compute(params: PyTree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        x_BxTxC, frames_B = surface(batch, params, system.features)
        return x_BxTxC[None], masking.frame_mask(frames_B, x_BxTxC.shape[1])

    return functools.partial(compute, params)


def normalise(latents_TxC: np.ndarray, params: PyTree) -> np.ndarray:
    """Normalised frames, float32 [T, C], of frames before normalisation."""
    return (latents_TxC - np.asarray(params["mean"])) / np.asarray(params["std"])


def denormalise(x_TxC: np.ndarray, params: PyTree) -> np.ndarray:
    """The inverse of `normalise`."""
    return x_TxC * np.asarray(params["std"]) + np.asarray(params["mean"])
