"""Runs a model over audio of any length: windows, batches of windows of similar length.

Memory is bounded. A window is as long as the longest clips of the training, and neighbouring
windows overlap (inference/windows.py).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from uniwav_jax import features as features_lib
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.features.batch import surface
from uniwav_jax.inference import windows
from uniwav_jax.types import Batch, PyTree

OVERLAP = 2.0  # seconds at each end of a window whose frames are taken from its neighbour
GROUP = 240.0  # seconds of audio that are read before their windows are sorted by length


class WindowedModel:
    """A model that computes something for each frame; subclasses define `compute`.

    Args:
        config: configuration of the run.
        arrays: {"params", "features"} of the run's state: the parameters by part, and those of the
            surface features.
        features: the surface features; None builds them from `config.features`.
        batch_seconds: seconds of audio, padding included, that are computed at once.
        window: seconds of the longest window; None takes the training's longest clips.

    Raises:
        UserError: the window is shorter than 4 frames.
    """

    def __init__(
        self,
        config: Config,
        arrays: PyTree,
        *,
        features: SurfaceFeatures | None = None,
        batch_seconds: float = 120.0,
        window: float | None = None,
    ) -> None:
        self.config = config
        self.features = features or features_lib.build(config.features)
        self._arrays = jax.device_put(arrays)
        self._batch_seconds = batch_seconds
        if window is not None and window * self.frame_rate < 4:
            raise UserError(f"a window of {window:g} s is too short; 4 frames are the least")
        buckets = config.data.buckets
        self._lengths = buckets if window is None else (*(b for b in buckets if b < window), window)
        self._run_batch = jax.jit(self._compute)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.features.frame_rate

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> PyTree:
        """What the model computes: an array, or a tree of arrays, each [B, T, ...].

        Args:
            params: the parameters by part, float32.
            x_BxTxC: normalised surface features, float32, zero on padding.
            frames_B: int32, real frames of each row.
        """
        raise NotImplementedError

    def _compute(self, arrays: PyTree, batch: Batch) -> PyTree:
        x_BxTxC, frames_B = surface(batch, arrays["features"], self.features)
        return self.compute(arrays["params"], x_BxTxC, frames_B)

    def run(
        self, files: Iterable[tuple[Any, Iterable[np.ndarray]]], *, few: bool = False
    ) -> Iterator[tuple[Any, PyTree | UserError]]:
        """The result of `compute` for each file, without the axis B: [T, ...], in order.

        Args:
            files: pairs of a name and the file's blocks, float32 [n] at the model's sample rate.
            few: batches have only as many rows as there are windows, rounded up to a power of two.
                That is faster for one short file and compiles more programs for many files.

        Yields:
            Pairs of the name and the result. A `UserError` that reading the blocks raised takes
            the place of the file's result.
        """
        pending: list[tuple[int, windows.Window]] = []
        results: dict[int, list[PyTree] | UserError] = {}
        names: dict[int, Any] = {}
        seconds, done = 0.0, 0
        for number, (name, blocks) in enumerate(files):
            names[number], results[number] = name, []
            try:
                for window in self._cut(blocks):
                    pending.append((number, window))
                    seconds += window.samples / self.features.sample_rate
                    if seconds > GROUP:
                        self._run(pending, results, few)
                        pending, seconds = [], 0.0
            except UserError as error:
                pending = [item for item in pending if item[0] != number]
                results[number] = error
            waiting = {item[0] for item in pending}
            while done in results and done not in waiting:
                yield names.pop(done), _joined(results.pop(done))
                done += 1
        self._run(pending, results, few)
        for number in sorted(results):
            yield names[number], _joined(results[number])

    def _cut(self, blocks: Iterable[np.ndarray]) -> Iterator[windows.Window]:
        rate, hop = self.features.sample_rate, self.features.hop
        longest = round(self._lengths[-1] * rate) // hop
        return windows.cut(
            blocks,
            hop=hop,
            window=longest,
            overlap=min(round(OVERLAP * self.frame_rate), longest // 4),
            context=self.features.context,
        )

    def _run(
        self, pending: list[tuple[int, windows.Window]], results: dict[int, Any], few: bool
    ) -> None:
        """Compute the windows in batches of similar length; append each file's frames in order."""
        rate, around = self.features.sample_rate, sum(self.features.context)
        buckets = [round(seconds * rate) for seconds in self._lengths]
        by_bucket: dict[int, list[int]] = {}
        for place, (_, window) in enumerate(pending):
            bucket = next(b for b in buckets if b >= window.samples)
            by_bucket.setdefault(bucket, []).append(place)
        kept: dict[int, PyTree] = {}
        for bucket, places in by_bucket.items():
            rows = max(1, int(self._batch_seconds * rate / bucket))
            if few:
                rows = min(rows, 1 << (len(places) - 1).bit_length())
            for first in range(0, len(places), rows):
                chosen = places[first : first + rows]
                audio_BxS = np.zeros((rows, around + bucket), np.float32)
                samples_B = np.zeros(rows, np.int32)
                for row, place in enumerate(chosen):
                    window = pending[place][1]
                    audio_BxS[row, : len(window.audio)] = window.audio
                    samples_B[row] = window.samples
                batch = Batch(audio_BxS, samples_B, np.zeros(rows, bool))
                found = jax.tree.map(np.asarray, self._run_batch(self._arrays, batch))
                for row, place in enumerate(chosen):
                    frames = (row, slice(*pending[place][1].keep))
                    kept[place] = jax.tree.map(lambda array, at=frames: array[at], found)
        for place, (number, _) in enumerate(pending):
            results[number].append(kept[place])


def _joined(result: list[PyTree] | UserError) -> PyTree | UserError:
    if isinstance(result, UserError):
        return result
    if not result:
        return UserError("no audio")
    return jax.tree.map(lambda *parts: np.concatenate(parts), *result)
