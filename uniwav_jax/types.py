"""Shared types and the legend of axis letters used in names such as `x_BxTxC`.

    B  rows of a batch            T  frames (50 per second)      S  waveform samples
    C  surface-feature channels   D  model width                 H  attention heads
    L  layers                     K  predicted layers            V  codewords per codebook
    F  feed-forward width         U  tokens of a text

Masks: `frame_mask_BxT` is True on real audio (False on padding); `span_mask_BxT` is True where a
frame is hidden from the student. Paper symbols keep their letters: x surface features, z
conditioning, t flow time, x0 noise, x1 data, u target velocity.
"""

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
            `features.context` too. Or latents extracted before, float16 [B, T, C].
        samples: int32 [B], real samples per row; 0 for a row whose file could not be read, and for
            an empty row of an evaluation batch.
        bad: bool [B], True where the clip was unreadable and stands in as silence.
        tokens: int32 [B, U], the text, -1 after each row's end; None where the task needs none.
    """

    audio: jax.Array
    samples: jax.Array
    bad: jax.Array
    tokens: jax.Array | None = None


@struct.dataclass
class TrainState:
    """Everything that a step reads and writes; saved whole in each checkpoint.

    Attributes:
        step: int32 [], updates done, skipped ones included; also the data position.
        params: float32 tree, what the optimizer trains.
        opt_state: optax state of `params`.
        ema: float32 tree, running average of the parameters used for sampling.
        task: state of the task outside the optimizer; in pretraining
            {"teacher": encoder params, "codebooks": {"sums" [K, V, D], "counts" [K, V]}}.
        features: parameters of the frozen surface features: {"mean" [C], "std" [C], ...}.
        skipped: int32 [2], non-finite updates: in all, and in a row up to now.
    """

    step: jax.Array
    params: PyTree
    opt_state: PyTree
    ema: PyTree
    task: PyTree
    features: PyTree
    skipped: jax.Array
