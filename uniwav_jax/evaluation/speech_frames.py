"""Normalised frames of a manifest's speech, as training computes them."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from uniwav_jax.evaluation import units
from uniwav_jax.evaluation.systems import System
from uniwav_jax.features import statistics
from uniwav_jax.features.batch import surface
from uniwav_jax.models import masking
from uniwav_jax.terminal import progress
from uniwav_jax.types import Batch, PyTree

BATCH_SECONDS = 64.0
# Function of a batch that returns frames, float32 [1, B, T, C], and real frames, bool [B, T].
Read = Callable[[Batch], tuple[jax.Array, jax.Array]]


class Speech(NamedTuple):
    """Speech in batches, its frames, and what normalises them.

    Attributes:
        clips: batches of frames before normalisation (`Batch.latents`, float32), and phones if the
            speech was read with alignments.
        audio: int16 [B, S] of each batch, without the features' context.
        params: {"mean", "std"}, float32 [C].
    """

    clips: units.Clips
    audio: list[np.ndarray]
    params: PyTree


def read(
    system: System,
    manifest: str,
    *,
    alignments: str | None = None,
    limit: int | None = None,
    params: PyTree | None = None,
) -> Speech:
    """Read speech, compute its frames once, and measure what normalises them.

    Args:
        system: what the frames are of.
        manifest: of the speech; clips are cut at 16 s.
        alignments: folder of TextGrids, to read only the clips that have one; None: all clips.
        limit: largest number of clips, spread over the manifest; None: all.
        params: statistics of other speech; None: measure them on this speech.

    Raises:
        UserError: as `units.read_clips`.
    """
    features = system.features
    options = {"limit": limit, "batch_seconds": BATCH_SECONDS}
    clips = units.read_clips(manifest, alignments, features=features, **options)
    weights, raw = jax.device_put(features.weights), jax.jit(features.raw)
    left, right = features.context
    audio, batches = [], []
    for batch in progress(clips.batches, label="frames"):
        latents = np.asarray(raw(weights, batch.audio))
        batches.append(batch.replace(audio=None, latents=latents))
        audio.append(batch.audio[:, left : batch.audio.shape[1] - right])
    if params is None:
        items = ({"latents": b.latents, "samples": b.samples} for b in batches)
        params = statistics.measure(features, items, seconds=float("inf"))
    return Speech(dataclasses.replace(clips, batches=batches), audio, params)


def make_read(system: System, params: PyTree) -> Read:
    """Compile `batch -> normalised frames float32 [1, B, T, C], real frames bool [B, T]`.

    Args:
        system: what the frames are of.
        params: statistics.
    """

    @jax.jit
    def compute(batch: Batch) -> tuple[jax.Array, jax.Array]:
        x_BxTxC, frames_B = surface(batch, params, system.features)
        return x_BxTxC[None], masking.frame_mask(frames_B, x_BxTxC.shape[1])

    return compute


def normalise(latents_TxC: np.ndarray, params: PyTree) -> np.ndarray:
    """Normalised frames, float32 [T, C], of frames before normalisation."""
    return (latents_TxC - np.asarray(params["mean"])) / np.asarray(params["std"])


def denormalise(x_TxC: np.ndarray, params: PyTree) -> np.ndarray:
    """The inverse of `normalise`."""
    return x_TxC * np.asarray(params["std"]) + np.asarray(params["mean"])
