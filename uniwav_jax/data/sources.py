"""Audio out of files and packed records, as int16 at one rate."""

import io
import os
import pathlib
import threading
from typing import Any

import numpy as np
import soundfile
import soxr
from etils import epath

from uniwav_jax.audio import flac
from uniwav_jax.data.manifest import Manifest
from uniwav_jax.errors import UserError

SEEKABLE = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF")  # libsndfile seeks these to the sample
DECODE_WHOLE = 1.5  # a FLAC this many times longer than the crop: whole is as fast as seeking


class BadAudioError(Exception):
    """A clip that cannot be used; the message says why."""


def read_audio(
    path: str,
    *,
    sample_rate: int = 16000,
    start: int = 0,
    samples: int | None = None,
    expected_rate: int | None = None,
) -> np.ndarray:
    """Mono int16 [n] at `sample_rate`, n <= `samples`, from sample `start` (at `sample_rate`).

    Channels are averaged. At another rate the whole file is decoded, resampled (soxr, high
    quality) and cut, and kinds that cannot be sought to the sample are decoded from their start,
    so that a crop equals the same part of the whole clip to the last bit.

    Args:
        path: file that libsndfile reads (wav, flac, ogg, opus, mp3, ...), local or gs://.
        sample_rate: of the result, Hz.
        start: first sample.
        samples: how many at most; None: to the end.
        expected_rate: the file's own rate as the manifest has it; None: any.

    Raises:
        BadAudioError: missing or broken file, another rate than expected, nothing left, NaN.
    """
    remote, end = "://" in path, None if samples is None else start + samples
    flac_expected = path.endswith(".flac") and expected_rate in (None, sample_rate)
    data, audio = b"", None
    try:
        if remote:
            data = epath.Path(path).read_bytes()
        elif not os.path.exists(path):
            raise FileNotFoundError
        elif flac_expected and (
            samples is None or os.path.getsize(path) < 2 * DECODE_WHOLE * samples
        ):
            data = pathlib.Path(path).read_bytes()
        if flac_expected and data:
            # A damaged header may promise any length; 400 samples a byte are a file of silence.
            longest = 400 * len(data) if samples is None else int(DECODE_WHOLE * samples)
            audio = flac.decode(data, sample_rate=sample_rate, longest=longest)
        if audio is None:
            source = io.BytesIO(data) if remote else path
            audio = _read_part(source, sample_rate, start, end, expected_rate)
        else:
            audio = audio[start:end]
    except BadAudioError:
        raise
    except FileNotFoundError:
        raise BadAudioError("file does not exist") from None
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].replace(path, "file")
        raise BadAudioError(f"cannot be decoded: {reason}") from error
    if not len(audio):
        raise BadAudioError("has no audio" if start == 0 else f"ends before sample {start}")
    if audio.dtype != np.int16:
        audio = np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)
    return audio


def _read_part(
    source: str | io.BytesIO,
    sample_rate: int,
    start: int,
    end: int | None,
    expected_rate: int | None,
) -> np.ndarray:
    """Samples [start, end) through libsndfile: int16 as stored where that is so, else float32."""
    with soundfile.SoundFile(source) as file:
        rate = file.samplerate
        if expected_rate is not None and rate != expected_rate:
            raise BadAudioError(
                f"sample rate {rate}, the manifest says {expected_rate}; build it again"
            )
        resample = rate != sample_rate
        seek = not resample and file.format in SEEKABLE
        first = file.seek(min(start, file.frames)) if seek else 0
        count = -1 if resample or end is None else end - first
        stored = not resample and (file.channels, file.subtype) == (1, "PCM_16")
        audio = file.read(count, dtype="int16" if stored else "float32", always_2d=True)
    audio = audio[:, 0] if audio.shape[1] == 1 else audio.mean(1)
    if not stored and not np.isfinite(audio).all():
        raise BadAudioError("holds NaN or infinite samples")
    if resample:
        audio = soxr.resample(audio, rate, sample_rate)
    return audio[start - first : None if end is None else end - first]


class ClipReader:
    """Reads clips of a `Manifest`, from files or from packed records; cheap to pickle."""

    def __init__(self, manifest: Manifest, *, sample_rate: int) -> None:
        self._manifest, self._rate = manifest, sample_rate
        self._lock = threading.Lock()
        self._packed: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"manifest": self._manifest, "sample_rate": self._rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["manifest"], sample_rate=state["sample_rate"])

    def read(self, row: int, *, start: int, samples: int) -> np.ndarray:
        """int16 [n <= samples] of clip `row`; raises `BadAudioError`."""
        if not self._manifest.packed:
            return read_audio(
                self._manifest.path(row),
                sample_rate=self._rate,
                start=start,
                samples=samples,
                expected_rate=int(self._manifest.sample_rate[row]),
            )
        audio = self._record(row, "speech")[start : start + samples]
        if not len(audio):
            raise BadAudioError(f"record {row} ends before sample {start}")
        return audio

    def read_latents(self, row: int, *, start: int, frames: int) -> np.ndarray:
        """float16 [n <= frames, C] of clip `row` from frame `start`; raises `BadAudioError`."""
        latents = self._record(row, "latents")[start : start + frames]
        if not len(latents):
            raise BadAudioError(f"record {row} ends before frame {start}")
        if not np.isfinite(latents).all():
            raise BadAudioError(f"record {row} holds NaN or infinite latents")
        return latents

    def _record(self, row: int, what: str) -> np.ndarray:
        if self._manifest.sample_rate[row] != self._rate:
            raise BadAudioError(
                f"packed at {self._manifest.sample_rate[row]} Hz, config.features.sample_rate is"
                f" {self._rate}; pack it again"
            )
        with self._lock:
            if self._packed is None:
                from uniwav_jax.data.packed import PackedReader  # runs on files do not pay for tfds

                packed = PackedReader(self._manifest.folder)
                if len(packed) != len(self._manifest):
                    raise UserError(
                        f"{self._manifest.folder}/manifest.tsv has {len(self._manifest)} rows, the"
                        f" shards {len(packed)} records; copy the folder again, or pack it again"
                    )
                self._packed = packed
        try:
            return getattr(self._packed, what)(row)
        except Exception as error:  # array_record and protobuf raise many kinds on damage
            raise BadAudioError(f"record {row} of {self._manifest.folder}: {error}") from error

    def name(self, row: int) -> str:
        """How a report names the clip."""
        if self._manifest.packed:
            return f"{self._manifest.folder}#{row} ({self._manifest.name(row)})"
        return self._manifest.path(row)
