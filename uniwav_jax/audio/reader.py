"""Audio files as mono int16 at one rate, whole, in part or in blocks: the same samples each way.

Training reads crops (`read_audio`), inference reads files of any length in bounded memory
(`read_blocks`). Both decode, average the channels, resample (soxr, high quality) and round to
int16 by the same steps, so that a model gets the same samples in both to the last bit.
"""

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import soxr

from uniwav_jax.audio import decode, flac
from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.writer import to_int16
from uniwav_jax.errors import UserError

BLOCK = 1 << 18  # samples per channel that are decoded at a time
DECODE_WHOLE = 1.5  # decoding a FLAC of up to so many times the crop's length is as fast as seeking


def read_audio(
    path: str,
    *,
    sample_rate: int = 16000,
    start: int = 0,
    samples: int | None = None,
    expected_rate: int | None = None,
    speed: float = 1.0,
) -> np.ndarray:
    """Read a file or a part of it.

    Files at another rate or speed, and kinds in which no decoder can seek to the exact sample, are
    decoded from their start, so that a crop equals the same part of the whole file to the last bit.

    Args:
        path: file of any kind (audio/decode.py), local or gs://.
        sample_rate: rate of the result in Hz.
        start: first sample of the result.
        samples: largest number of samples; None: all to the end.
        expected_rate: the file's own rate according to the manifest; None: any.
        speed: factor of tempo and pitch, by which the result is shorter.

    Returns:
        int16 [n], n <= `samples`.

    Raises:
        BadAudioError: the file is missing or broken, has another rate than expected, NaN or
            infinite samples, or nothing after `start`.
    """
    end = None if samples is None else start + samples
    audio = None
    if path.endswith(".flac") and expected_rate in (None, sample_rate) and speed == 1:
        audio = _decode_flac(path, sample_rate, samples)
    if audio is not None:
        audio = audio[start:end]
    else:
        blocks = list(_blocks(path, sample_rate, start, end, expected_rate, speed))
        audio = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not len(audio):
        raise BadAudioError("has no audio" if start == 0 else f"ends before sample {start}")
    return audio


def read_blocks(path: str, *, sample_rate: int) -> Iterator[np.ndarray]:
    """Read a whole file in bounded memory: float32 [n] in [-1, 1), multiples of 1 / 32768.

    Args:
        path: as for `read_audio`.
        sample_rate: rate of the result in Hz.

    Raises:
        UserError: names the file, and why `read_audio` would not read it.
    """
    samples = 0
    try:
        for block in _blocks(path, sample_rate):
            samples += len(block)
            if len(block):
                yield block.astype(np.float32) / 32768
    except BadAudioError as error:
        raise UserError(f"{path} {error}") from error
    if not samples:
        raise UserError(f"{path} has no audio")


def at_speed(audio: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    """Samples at another speed, as `read_audio` reads them from a file.

    Args:
        audio: int16 [n].
        sample_rate: its rate in Hz, and that of the result.
        speed: as for `read_audio`.

    Returns:
        int16 [n / speed, rounded].
    """
    as_if = round(sample_rate * speed)
    resampler = soxr.ResampleStream(as_if, sample_rate, 1, dtype="float32")
    return to_int16(resampler.resample_chunk(audio.astype(np.float32) / 32768, True))


def measure(path: str) -> tuple[int, int]:
    """Samples per channel, and the rate in Hz, of a file.

    The length is what the container states where it does so reliably; otherwise the file is decoded
    to its end.

    Raises:
        BadAudioError: the file is missing or broken, or has no audio.
    """
    with decode.opened(path) as file:
        samples = file.samples
        if samples is None:
            samples = 0
            while count := len(file.read(BLOCK)):
                samples += count
        if not samples:
            raise BadAudioError("has no audio")
        return samples, file.sample_rate


def _decode_flac(path: str, sample_rate: int, samples: int | None) -> np.ndarray | None:
    """All of a FLAC by `flac.decode`, or None where another decoder must read it or can seek.

    Args:
        path: of the file, which may be missing.
        sample_rate: the rate that the file must have.
        samples: how many are wanted; None: all.
    """
    longest = None if samples is None else int(DECODE_WHOLE * samples)
    remote = "://" in path
    if not remote and not os.path.exists(path):
        return None
    if longest is not None and not remote and os.path.getsize(path) >= 2 * longest:
        return None  # FLAC needs at most two bytes a sample, so this file is probably longer
    try:
        data = decode.read_bytes(path) if remote else pathlib.Path(path).read_bytes()
    except OSError:
        return None
    # A damaged header may promise any length; even silence takes a byte for 400 samples.
    return flac.decode(
        data, sample_rate=sample_rate, longest=400 * len(data) if longest is None else longest
    )


def _blocks(
    path: str,
    sample_rate: int,
    start: int = 0,
    end: int | None = None,
    expected_rate: int | None = None,
    speed: float = 1.0,
) -> Iterator[np.ndarray]:
    """Samples `start` to before `end` of a file, int16 [n >= 0] in turn; at least one block."""
    with decode.opened(path) as file:
        rate = file.sample_rate
        if expected_rate is not None and rate != expected_rate:
            raise BadAudioError(
                f"sample rate {rate}, the manifest says {expected_rate}; build it again"
            )
        as_if = round(rate * speed)  # speech at another speed is as if the file had another rate
        own = as_if == sample_rate
        exact = own and file.stored and file.channels == 1
        resampler = None if own else soxr.ResampleStream(as_if, sample_rate, 1, dtype="float32")
        place = file.seek(start) if own else 0
        last = False
        while not last:
            count = BLOCK if not own or end is None else min(BLOCK, end - place)
            audio = file.read(count)
            last = len(audio) < count
            if not exact:
                if audio.dtype == np.int16:
                    audio = audio.astype(np.float32) / 32768
                audio = audio[:, 0] if audio.shape[1] == 1 else audio.mean(1)
                if not np.isfinite(audio).all():
                    raise BadAudioError("has NaN or infinite samples")
                if resampler:
                    audio = resampler.resample_chunk(audio, last)
                audio = to_int16(audio)
            else:
                audio = audio[:, 0]
            yield audio[max(start - place, 0) : None if end is None else max(end - place, 0)]
            place += len(audio)
            last = last or (end is not None and place >= end)
