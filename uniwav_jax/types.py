"""Shared types and the legend of axis letters used in names such as `x_BxTxC`.

    B  rows of a batch            T  frames                      S  waveform samples
    C  channels of features       D  model width                 H  attention heads
    L  layers                     K  codebooks                   V  codewords, or symbols
    U  tokens of a text           W  samples of a window         F  frequency bins
    E  width of the decoder

There is one codebook per predicted layer, or per stage of a codec's quantiser. Functions that use
other letters define them in their docstrings.

Masks: `frame_mask_BxT` is True on real audio (False on padding); `span_mask_BxT` is True where a
frame is hidden from the student. Paper symbols keep their letters: x surface features, z
conditioning, t flow time, x0 noise, x1 data, u target velocity.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import struct

PyTree = Any
Metrics = dict[str, jax.Array]
# `add_up(function, rows)`: the sum of `function(*microbatch)` over the microbatches of `rows`.
AddUp = Callable[[Callable[..., PyTree], tuple[PyTree, ...]], PyTree]


@struct.dataclass
class Batch:
    """One global batch; rows are sharded over the mesh's data and fsdp axes.

    Attributes:
        audio: int16 [B, S], mono at `features.sample_rate`, zero after each row's end; S counts
            `features.context` too. None where `latents` are given.
        samples: int32 [B], real samples per row; 0 for a row whose file could not be read, and for
            an empty row of an evaluation batch.
        bad: bool [B], True where the clip was unreadable and silence replaces it.
        labels: arrays [B, ...] by name, as the task's labels describe them (data/labels.py).
        latents: float16 [B, T, C], codec latents that were extracted before; None for audio.
    """

    audio: jax.Array | None
    samples: jax.Array
    bad: jax.Array
    labels: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    latents: jax.Array | None = None


@struct.dataclass
class Example:
    """The part of a batch that a loss reads.

    Attributes:
        x_BxTxC: float32 [B, T, C], normalised surface features, zero on padding. A codec's features
            are its waveform: T counts samples and C is 1.
        frames_B: int32 [B], real frames per row; 0 for an empty or unreadable row.
        labels: arrays [B, ...] by name, as in `Batch`.
    """

    x_BxTxC: jax.Array
    frames_B: jax.Array
    labels: dict[str, jax.Array] = dataclasses.field(default_factory=dict)


@struct.dataclass
class Variables:
    """The arrays of a model: all of `TrainState` except the optimizer and the counters.

    Attributes:
        params: float32 tree, the parameters that the optimizer trains; its first level are the
            task's parts, such as "encoder" or "decoder".
        ema: float32 tree, running averages of some parts of `params` (`Task.averages`).
        state: the task's float32 arrays outside the optimizer:
            pretraining {"teacher": encoder parameters, "codebooks": {"sums" [K, V, D],
                "counts" [K, V]}};
            recognition {};
            codec {"norms": {loss: []}} and, with a quantiser, "codebooks" {"sums" [K, V, C],
                "counts" [K, V]}.
        frozen: arrays that never change: {"features": {"mean" [C], "std" [C], and the weights of a
            codec}}.
    """

    params: PyTree
    ema: PyTree
    state: PyTree
    frozen: PyTree


@struct.dataclass
class TrainState:
    """Everything that a step reads and writes. Each checkpoint stores all of it.

    Attributes:
        step: int32 [], number of updates so far, including skipped ones; it is also the position in
            the data.
        params: see `Variables`.
        opt_state: the optax state of `params`.
        ema: see `Variables`.
        state: see `Variables`.
        frozen: see `Variables`.
        skipped: int32 [2], number of non-finite updates: in total, and in a row until now.
    """

    step: jax.Array
    params: PyTree
    opt_state: PyTree
    ema: PyTree
    state: PyTree
    frozen: PyTree
    skipped: jax.Array

    @property
    def variables(self) -> Variables:
        """The model's arrays, without the optimizer."""
        return Variables(self.params, self.ema, self.state, self.frozen)
