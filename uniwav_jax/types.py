"""Shared types and the legend of axis letters used in names such as `x_BxTxC`.

    B  rows of a batch            T  frames                      S  waveform samples
    C  channels of features       D  model width                 H  attention heads
    L  layers                     K  codebooks                   V  codewords, or symbols
    U  tokens of a text           W  samples of a window         F  frequency bins

There is one codebook per predicted layer, or per stage of a codec's quantiser. A few functions use
more letters, which their docstrings define.

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
    """What a loss reads of a batch.

    Attributes:
        x_BxTxC: float32, normalised surface features, zero on padding.
        frames_B: int32, real frames per row.
        labels: arrays [B, ...] by name.
    """

    x_BxTxC: jax.Array
    frames_B: jax.Array
    labels: dict[str, jax.Array] = dataclasses.field(default_factory=dict)


@struct.dataclass
class Variables:
    """The arrays of a model: all of `TrainState` but the optimizer and the counters.

    Attributes:
        params: float32 tree, the parameters that the optimizer trains.
        ema: float32 tree, running averages of some parts of `params` (`Task.averages`).
        state: the task's arrays outside the optimizer; in pretraining {"teacher": encoder
            parameters, "codebooks": {"sums" [K, V, D], "counts" [K, V]}}.
        frozen: arrays that never change; {"features": {"mean" [C], "std" [C], ...}}.
    """

    params: PyTree
    ema: PyTree
    state: PyTree
    frozen: PyTree


@struct.dataclass
class TrainState:
    """Everything that a step reads and writes; saved whole in each checkpoint.

    Attributes:
        step: int32 [], updates done, skipped ones included; also the data position.
        params: see `Variables`.
        opt_state: optax state of `params`.
        ema: see `Variables`.
        state: see `Variables`.
        frozen: see `Variables`.
        skipped: int32 [2], non-finite updates: the total, and the current number in a row.
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
