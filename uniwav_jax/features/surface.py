"""The interface that all kinds of surface features implement."""

from typing import Any, Protocol

import jax
import numpy as np

from uniwav_jax.types import PyTree


class SurfaceFeatures(Protocol):
    """A fixed map between waveforms and feature frames.

    Its parameters are a float32 tree in `TrainState.frozen["features"]` with "mean" and "std", [C],
    and a codec's weights.

    Attributes:
        sample_rate: Hz.
        hop: samples per frame.
        frame_rate: frames per second.
        channels: C.
        weights: parameters other than the statistics, float32; {} if there are none.
        context: numbers of samples that `raw` and `encode` read before and after the audio whose
            frames they compute.
        scale: float32 [C] or [1], standard deviation that normalisation gives each channel.
        described: a codec's structure and hash as JSON values, for checkpoints; None without codec.
    """

    sample_rate: int
    hop: int
    frame_rate: float
    channels: int
    weights: PyTree
    context: tuple[int, int]
    scale: np.ndarray
    described: dict[str, Any] | None

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Frames before normalisation, float32 [B, T, C].

        Args:
            params: the parameters; only `weights` are read.
            audio_BxS: int16, or float in [-1, 1]; S includes `context`.
        """

    def encode(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Normalised frames, float32 [B, ceil(S / hop), C], where S excludes `context`."""

    def decode(self, params: PyTree, x_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, T * hop], of normalised frames."""

    def output_length(self, samples: Any) -> Any:
        """Frames of `samples` samples (int or int array): ceil(samples / hop)."""

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """An image of one row's frames x [T, C], for example for TensorBoard; float32 [T', C']."""
