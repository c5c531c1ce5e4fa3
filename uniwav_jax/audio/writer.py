"""Waveforms to 16-bit WAV and FLAC files."""

import os
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import soundfile


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Round a float waveform in [-1, 1] to int16 of the same shape, and clip what lies beyond.

    This is what `audio.reader` does, so that a file that is read and written again stays the same.
    """
    return np.clip(np.round(wave * 32768.0), -32768, 32767).astype(np.int16)


def write_audio(
    file: str | os.PathLike[str] | BinaryIO,
    blocks: Iterable[np.ndarray],
    *,
    sample_rate: int,
    container: str = "WAV",
) -> int:
    """Write blocks of a mono waveform as a 16-bit file.

    Args:
        file: a local path, or a binary file that can seek.
        blocks: the waveform in turn, float [n] in [-1, 1] or int16 [n].
        sample_rate: in Hz.
        container: WAV or FLAC.

    Returns:
        The number of samples written.
    """
    samples = 0
    settings = {"subtype": "PCM_16", "format": container}
    with soundfile.SoundFile(file, "w", sample_rate, 1, **settings) as sink:
        for block in blocks:
            sink.write(block if block.dtype == np.int16 else to_int16(block))
            samples += len(block)
    return samples
