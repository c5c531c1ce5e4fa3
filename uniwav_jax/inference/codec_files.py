"""Files through a neural codec: audio -> latents or codes, and back; any length, bounded memory."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from uniwav_jax.audio.reader import read_blocks
from uniwav_jax.audio.writer import write_wav
from uniwav_jax.codec import chunked, files
from uniwav_jax.codec.config import Structure
from uniwav_jax.errors import UserError
from uniwav_jax.models import quantizer
from uniwav_jax.types import PyTree

SCHEMA = 1
ROW = 256  # frames quantised as one row: few lengths, few compilations


class FileCodec:
    """A codec folder, ready to encode and decode files.

    Attributes:
        config: its structure.
        digest: of its weights; a file of latents says which codec it needs.
    """

    def __init__(self, folder: str) -> None:
        self.config: Structure
        self._params: PyTree
        self.config, self._params = files.load(folder)
        self.folder, self.digest = folder, files.digest(folder)
        self._network = jax.device_put(self._params["network"])
        self._quantise = jax.jit(quantizer.encode)

    def encode(self, audio: Iterable[np.ndarray], *, stages: int = 0) -> np.ndarray:
        """Latents float32 [T, C] of blocks float32 [n], or codes int16 [stages, T].

        Silence fills the last frame, so that files of most lengths are compiled once.

        Raises:
            UserError: more stages than the codec has codebooks.
        """
        if stages > self.config.codebooks:
            raise UserError(f"{self.folder} has {self.config.codebooks} codebooks, not {stages}")
        blocks = chunked.encode(self.config, self._network, _whole(audio, self.config.hop))
        latents_TxC = np.concatenate(list(blocks))
        if not stages:
            return latents_TxC
        rows = np.pad(latents_TxC, ((0, -len(latents_TxC) % ROW), (0, 0)))
        rows = rows.reshape(-1, ROW, self.config.dimension)
        codes = self._quantise(self._params["codebooks"][:stages], rows)
        codes_KxT = np.asarray(codes, np.int16).reshape(stages, -1)
        return codes_KxT[:, : len(latents_TxC)]

    def decode(self, value: np.ndarray) -> Iterator[np.ndarray]:
        """Waveform, blocks float32 [n] in [-1, 1], of what `encode` gave."""
        if value.dtype == np.int16:
            value = quantizer.decode(self._params["codebooks"], value)
        window = round(chunked.SECONDS * self.config.sample_rate / self.config.hop)
        latents = (value[first : first + window] for first in range(0, len(value), window))
        for block in chunked.decode(self.config, self._network, latents):
            yield np.clip(block, -1.0, 1.0)


def _whole(blocks: Iterable[np.ndarray], hop: int) -> Iterator[np.ndarray]:
    samples = 0
    for block in blocks:
        samples += len(block)
        yield block
    yield np.zeros(-samples % hop, np.float32)


def encode_file(codec: FileCodec, source: str, target: pathlib.Path, *, stages: int = 0) -> int:
    """Write `target`.npz with latents or codes of an audio file; returns its samples."""
    samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in read_blocks(source, sample_rate=codec.config.sample_rate):
            samples += len(block)
            yield block

    value = codec.encode(counted(), stages=stages)
    arrays = {"codes" if stages else "latents": value, "samples": samples, "schema": SCHEMA}
    temporary = target.with_suffix(".part.npz")
    np.savez(temporary, codec=codec.digest, **arrays)
    temporary.rename(target)
    return samples


def decode_file(codec: FileCodec, source: str, target: pathlib.Path) -> int:
    """Write the audio (16-bit) of a file of `encode_file`; returns its samples.

    Raises:
        UserError: no such file, damaged, or of another codec.
    """
    try:
        with np.load(source, allow_pickle=False) as document:
            held: dict[str, Any] = {name: document[name] for name in document.files}
        samples, digest = int(held["samples"]), str(held["codec"])
        value = held["codes"] if "codes" in held else held["latents"]
    except Exception as error:  # numpy, zip and zlib each raise their own
        raise UserError(f"{source} is not a file of 'uniwav encode': {error}") from error
    if digest != codec.digest:
        raise UserError(
            f"{source} was encoded with codec {digest}, {codec.folder} is {codec.digest}"
        )
    temporary, left = target.with_suffix(f".part{target.suffix}"), samples

    def cut() -> Iterator[np.ndarray]:
        nonlocal left
        for block in codec.decode(value):
            yield block[:left]
            left -= min(left, len(block))

    try:
        write_wav(str(temporary), cut(), sample_rate=codec.config.sample_rate)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.rename(target)
    return samples
