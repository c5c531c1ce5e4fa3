"""Audio files as mono int16 at one rate, whole, in part or in blocks: the same samples each way.

Training reads crops (`read_audio`), inference reads files of any length in bounded memory
(`read_blocks`). Both decode, average the channels, resample (soxr, high quality) and round to
int16 by the same steps, so that a model gets the same samples in both to the last bit.
"""

import io
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr
from etils import epath

from uniwav_jax.audio import flac
from uniwav_jax.audio.writer import to_int16
from uniwav_jax.errors import UserError

BLOCK = 1 << 18  # samples per channel that are decoded at a time
SEEKABLE = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF")  # libsndfile seeks these to the exact sample
DECODE_WHOLE = 1.5  # decoding a FLAC of up to so many times the crop's length is as fast as seeking


class BadAudioError(Exception):
    """A clip that cannot be used; the message says why, without naming the file."""


def read_audio(
    path: str,
    *,
    sample_rate: int = 16000,
    start: int = 0,
    samples: int | None = None,
    expected_rate: int | None = None,
) -> np.ndarray:
    """Read a file or a part of it.

    Files at another rate, and kinds in which libsndfile cannot seek to the exact sample, are
    decoded from their start, so that a crop equals the same part of the whole file to the last bit.

    Args:
        path: file that libsndfile reads (wav, flac, ogg, opus, mp3, ...), local or gs://.
        sample_rate: rate of the result in Hz.
        start: first sample, at `sample_rate`.
        samples: largest number of samples; None: all to the end.
        expected_rate: the file's own rate according to the manifest; None: any.

    Returns:
        int16 [n], n <= `samples`.

    Raises:
        BadAudioError: the file is missing or broken, has another rate than expected, NaN or
            infinite samples, or nothing after `start`.
    """
    end = None if samples is None else start + samples
    audio = None
    try:
        source: str | io.BytesIO = _open(path)
        if path.endswith(".flac") and expected_rate in (None, sample_rate):
            audio = _decode_flac(source, sample_rate, samples)
        if audio is not None:
            audio = audio[start:end]
        else:
            blocks = list(_blocks(source, sample_rate, start, end, expected_rate))
            audio = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        raise _bad(error, path) from error
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
        for block in _blocks(_open(path), sample_rate):
            samples += len(block)
            if len(block):
                yield block.astype(np.float32) / 32768
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, BadAudioError) as error:
        raise UserError(f"{path} {_bad(error, path)}") from error
    if not samples:
        raise UserError(f"{path} has no audio")


def _open(path: str) -> str | io.BytesIO:
    """What libsndfile reads: the path, or the content of a remote file."""
    if "://" in path:
        return io.BytesIO(epath.Path(path).read_bytes())
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    return path


def _bad(error: Exception, path: str) -> BadAudioError:
    """The error of a library in words, in one line."""
    if isinstance(error, BadAudioError):
        return error
    if isinstance(error, FileNotFoundError):
        return BadAudioError("does not exist")
    return BadAudioError(f"cannot be decoded: {str(error).splitlines()[0].replace(path, 'file')}")


def _decode_flac(
    source: str | io.BytesIO, sample_rate: int, samples: int | None
) -> np.ndarray | None:
    """All of a FLAC by `flac.decode`, or None where libsndfile must read it or seeking is faster.

    Args:
        source: of `_open`.
        sample_rate: the rate that the file must have.
        samples: how many are wanted; None: all.
    """
    remote = isinstance(source, io.BytesIO)
    longest = None if samples is None else int(DECODE_WHOLE * samples)
    if longest is not None and not remote and os.path.getsize(source) >= 2 * longest:
        return None  # FLAC needs at most two bytes a sample, so this file is probably longer
    data = source.getvalue() if remote else pathlib.Path(source).read_bytes()
    # A damaged header may promise any length; even silence takes a byte for 400 samples.
    return flac.decode(
        data, sample_rate=sample_rate, longest=400 * len(data) if longest is None else longest
    )


class _SoundFile(soundfile.SoundFile):
    """A file that is read from one place on, without the seek that soundfile adds to each read.

    In MP3 that seek changes the samples of the next read.
    """

    def seekable(self) -> bool:
        return False


def _blocks(
    source: str | io.BytesIO,
    sample_rate: int,
    start: int = 0,
    end: int | None = None,
    expected_rate: int | None = None,
) -> Iterator[np.ndarray]:
    """Samples `start` to before `end` of a file, int16 [n >= 0] in turn; at least one block."""
    with _SoundFile(source) as file:
        rate = file.samplerate
        if expected_rate is not None and rate != expected_rate:
            raise BadAudioError(
                f"sample rate {rate}, the manifest says {expected_rate}; build it again"
            )
        own = rate == sample_rate
        stored = own and (file.channels, file.subtype) == (1, "PCM_16")
        resampler = None if own else soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
        seek = own and file.format in SEEKABLE
        place = file.seek(min(start, file.frames)) if seek else 0
        last = False
        while not last:
            count = BLOCK if not own or end is None else min(BLOCK, end - place)
            audio = file.read(count, dtype="int16" if stored else "float32", always_2d=True)
            last = len(audio) < count
            audio = audio[:, 0] if audio.shape[1] == 1 else audio.mean(1)
            if not stored and not np.isfinite(audio).all():
                raise BadAudioError("has NaN or infinite samples")
            if resampler:
                audio = resampler.resample_chunk(audio, last)
            if not stored:
                audio = to_int16(audio)
            yield audio[max(start - place, 0) : None if end is None else max(end - place, 0)]
            place += len(audio)
            last = last or (end is not None and place >= end)
