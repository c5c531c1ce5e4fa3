"""Waves as users have them, arrays or files, as mono float32 blocks at a model's sample rate."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr

from uniwav_jax.audio.reader import BLOCK, read_blocks
from uniwav_jax.errors import UserError

MOST_CHANNELS = 8  # an array with more rows is a batch of clips, which would be averaged
LOUDEST = 32.0  # floats beyond it are integers that were converted without being scaled


def blocks(wave: Any, rate: int | None, *, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks float32 [n] at `sample_rate`, channels averaged.

    Args:
        wave: path of an audio file; or an array of NumPy, JAX or PyTorch, float in [-1, 1] or
            int16, of shape [S], [channels, S] or [S, channels] (the shorter axis is taken for the
            channels, of which there may be 8).
        rate: sample rate of an array in Hz; None: `sample_rate`. A file states its own.
        sample_rate: of the result, in Hz.

    Raises:
        UserError: the file cannot be read, or the array is empty, has another shape or type, or
            has values that are not finite.
    """
    if isinstance(wave, str | os.PathLike):
        yield from read_blocks(os.fspath(wave), sample_rate=sample_rate)
        return
    audio_S = mono(wave)
    rate = sample_rate if rate is None else rate
    if not rate > 0:
        raise UserError(f"the rate of a wave must be positive, in Hz; got {rate!r}")
    if rate != sample_rate:
        audio_S = soxr.resample(audio_S, rate, sample_rate)
        if not len(audio_S):
            raise UserError(f"the wave is shorter than one sample at {sample_rate} Hz")
    for first in range(0, len(audio_S), BLOCK):
        yield audio_S[first : first + BLOCK]


def mono(wave: Any) -> np.ndarray:
    """One channel, float32 [S] in [-1, 1], of an array as `blocks` takes it."""
    if hasattr(wave, "detach"):  # a tensor of PyTorch, which need not be installed
        wave = wave.detach().cpu()
        wave = wave.float() if wave.is_floating_point() else wave
    array = np.asarray(wave)
    floats = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if not floats and array.dtype != np.int16:
        raise UserError(f"a wave is float in [-1, 1] or int16; got {array.dtype}")
    if array.ndim not in (1, 2):
        raise UserError(f"a wave is [S], [channels, S] or [S, channels]; got {array.shape}")
    if not array.size:
        raise UserError(f"the wave is empty; its shape is {array.shape}")
    array = array.astype(np.float32) if floats else array.astype(np.float32) / 32768.0
    if array.ndim == 2:
        channels = min(array.shape)
        if channels > MOST_CHANNELS:
            raise UserError(
                f"a wave of shape {array.shape} has {channels} channels; at most {MOST_CHANNELS}"
                " are averaged. Give the clips of a batch one by one"
            )
        array = array.mean(array.shape.index(channels))
    if not np.isfinite(array).all():
        raise UserError("the wave has NaN or infinite samples")
    if np.abs(array).max() > LOUDEST:
        raise UserError(
            f"the wave has values up to {np.abs(array).max():g}; floats lie in [-1, 1], integers"
            " are int16"
        )
    return array
