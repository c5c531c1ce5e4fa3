"""Reads the clips of a manifest from audio files or packed records, as int16 at one rate."""

import threading
from typing import Any

import numpy as np

from uniwav_jax.audio.reader import BadAudioError, at_speed, read_audio
from uniwav_jax.data.manifest import Manifest
from uniwav_jax.errors import UserError


class ClipReader:
    """Reads clips of a `Manifest` from files or from packed records, at the manifest's speed.

    It can be pickled; a copy opens the records again.

    Args:
        manifest: the clips.
        sample_rate: rate in Hz to which files are resampled, and which packed records must have.
    """

    def __init__(self, manifest: Manifest, *, sample_rate: int) -> None:
        self._manifest, self._rate = manifest, sample_rate
        self._lock = threading.Lock()
        self._packed: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"manifest": self._manifest, "sample_rate": self._rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["manifest"], sample_rate=state["sample_rate"])

    def read(self, row: int, *, start: int, samples: int) -> np.ndarray:
        """Samples of clip `row` from `start` on, int16 [n], n <= `samples`.

        Raises:
            BadAudioError: the clip cannot be read, or ends before `start`.
        """
        if not self._manifest.packed:
            return read_audio(
                self._manifest.path(row),
                sample_rate=self._rate,
                start=start,
                samples=samples,
                expected_rate=int(self._manifest.sample_rate[row]),
                speed=self._manifest.speed,
            )
        audio = self._record(row, "speech")
        if self._manifest.speed != 1:
            audio = at_speed(audio, self._rate, self._manifest.speed)
        audio = audio[start : start + samples]
        if not len(audio):
            raise BadAudioError(f"record {row} ends before sample {start}")
        return audio

    def read_latents(self, row: int, *, start: int, frames: int) -> np.ndarray:
        """Latents of clip `row` from frame `start` on, float16 [n, C], n <= `frames`.

        Raises:
            BadAudioError: the record cannot be read, ends before `start`, or has NaN or infinity.
        """
        latents = self._record(row, "latents")[start : start + frames]
        if not len(latents):
            raise BadAudioError(f"record {row} ends before frame {start}")
        if not np.isfinite(latents).all():
            raise BadAudioError(f"record {row} has NaN or infinite latents")
        return latents

    def _record(self, row: int, field: str) -> np.ndarray:
        """One field, "speech" or "latents", of a packed record."""
        if self._manifest.sample_rate[row] != self._rate:
            raise BadAudioError(
                f"the record is packed at {self._manifest.sample_rate[row]} Hz, and"
                f" config.features.sample_rate is {self._rate}; pack it again"
            )
        with self._lock:
            if self._packed is None:
                from uniwav_jax.data.packed import PackedReader  # imports tfds, which is slow

                packed = PackedReader(self._manifest.folder)
                if len(packed) != len(self._manifest):
                    raise UserError(
                        f"{self._manifest.folder}/manifest.tsv has {len(self._manifest)} rows, but"
                        f" the shards have {len(packed)} records; copy the folder again, or pack it"
                        " again"
                    )
                self._packed = packed
        try:
            return getattr(self._packed, field)(row)
        except Exception as error:  # array_record and protobuf raise many kinds on damage
            raise BadAudioError(f"record {row} of {self._manifest.folder}: {error}") from error

    def name(self, row: int) -> str:
        """The clip's name in reports of bad files."""
        if self._manifest.packed:
            return f"{self._manifest.folder}#{row} ({self._manifest.name(row)})"
        return self._manifest.path(row)
