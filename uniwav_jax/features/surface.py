"""The interface of all kinds of surface features."""

from typing import Any, Protocol

import jax

from uniwav_jax.types import PyTree


class SurfaceFeatures(Protocol):
    """A fixed map between waveforms and feature frames.

    Its parameters (statistics, and a codec's weights) are a float32 tree in `TrainState.features`;
    "mean" and "std" [C] are always part of it.

    Attributes:
        sample_rate: Hz.
        hop: samples per frame.
        frame_rate: frames per second.
        channels: C.
        weights: parameters other than the statistics, float32; {} where there are none.
        context: numbers of samples before and after the wanted ones that `raw` and `encode` read.
        described: structure and hash of a codec as JSON values, for checkpoints; None without one.
    """

    sample_rate: int
    hop: int
    frame_rate: float
    channels: int
    weights: PyTree
    context: tuple[int, int]
    described: dict[str, Any] | None

    def raw(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Frames before normalisation, float32 [B, T, C].

        Args:
            params: at least `weights`.
            audio_BxS: int16, or float in [-1, 1]; S includes `context`.
        """

    def encode(self, params: PyTree, audio_BxS: jax.Array) -> jax.Array:
        """Normalised frames, float32 [B, ceil(S / hop), C], where S excludes `context`."""

    def decode(self, params: PyTree, x_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, T * hop], of normalised frames."""

    def output_length(self, samples: Any) -> Any:
        """Frames of `samples` samples (int or int array): ceil(samples / hop)."""

    def picture(self, x_TxC: jax.Array) -> jax.Array:
        """An image of one row's frames x [T, C] for pictures, float32 [T', C']."""
