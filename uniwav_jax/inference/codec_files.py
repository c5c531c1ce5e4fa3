"""A neural codec on files: audio -> latents or codes, and back; any length, bounded memory."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from uniwav_jax.audio.reader import read_blocks
from uniwav_jax.audio.writer import write_audio
from uniwav_jax.codec import chunked, files
from uniwav_jax.codec.config import FrontEndConfig, Structure
from uniwav_jax.errors import UserError
from uniwav_jax.models import quantizer
from uniwav_jax.types import PyTree

SCHEMA = 1
ROW = 256  # frames are quantised in rows of this length, so that one shape is compiled


class FileCodec:
    """A codec, ready to encode and decode audio of any length.

    Args:
        config: the codec's structure.
        params: {"network", "codebooks" float32 [Q, V, C] where the structure has them}.
        name: of the codec in error messages.
        digest: hash of the weights, which a file of latents names; "" where there is no folder.
    """

    def __init__(self, config: Structure, params: PyTree, *, name: str, digest: str = "") -> None:
        self.config, self.name, self.digest = config, name, digest
        self._params = params
        self._network = jax.device_put(params["network"])
        self._quantise = jax.jit(quantizer.encode)

    @classmethod
    def load(cls, folder: str) -> "FileCodec":
        """From a codec folder.

        Raises:
            UserError: there is no codec in the folder, or a damaged one.
        """
        config, params = files.load(folder)
        return cls(config, params, name=folder, digest=files.digest(folder))

    def encode(self, audio: Iterable[np.ndarray], *, stages: int = 0) -> np.ndarray:
        """Latents float32 [T, C], or codes int16 [stages, T], of blocks float32 [n].

        Silence fills the last frame, so that files of most lengths need no compilation of their
        own.

        Args:
            audio: blocks at the codec's sample rate.
            stages: codebooks that quantise; 0 gives latents.

        Raises:
            UserError: the codec has fewer codebooks than `stages`.
        """
        if stages > self.config.codebooks:
            raise UserError(f"{self.name} has {self.config.codebooks} codebooks, not {stages}")
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
        """Waveform, blocks float32 [n] in [-1, 1], of latents [T, C] or integer codes [Q, T].

        Raises:
            UserError: the value has another shape, or the codec has no decoder.
        """
        if isinstance(self.config, FrontEndConfig):
            raise UserError(f"{self.name} is a convolutional front end, which decodes nothing")
        integers, books = value.dtype.kind in "iu", self.config.codebooks
        if integers and not (value.ndim == 2 and len(value) <= books):
            raise UserError(f"codes are [Q, T] with Q up to {books}; got {value.shape}")
        if not integers and (value.ndim != 2 or value.shape[1] != self.config.dimension):
            raise UserError(f"latents are [T, {self.config.dimension}]; got {value.shape}")
        if integers:
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
    """Write `target`, an npz file of an audio file's latents or codes; returns its samples."""
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
    """Decode a file of `encode_file` into 16-bit audio; returns its samples.

    Raises:
        UserError: the file does not exist, is damaged, or was encoded with another codec.
    """
    try:
        with np.load(source, allow_pickle=False) as document:
            fields: dict[str, Any] = {name: document[name] for name in document.files}
        samples, digest = int(fields["samples"]), str(fields["codec"])
        value = fields["codes"] if "codes" in fields else fields["latents"]
    except Exception as error:  # numpy, zip and zlib each raise errors of their own
        raise UserError(f"{source} is not a file of 'uniwav encode': {error}") from error
    if digest != codec.digest:
        raise UserError(f"{source} was encoded with codec {digest}, {codec.name} is {codec.digest}")
    temporary, left = target.with_suffix(f".part{target.suffix}"), samples

    def cut() -> Iterator[np.ndarray]:
        nonlocal left
        for block in codec.decode(value):
            yield block[:left]
            left -= min(left, len(block))

    try:
        write_audio(str(temporary), cut(), sample_rate=codec.config.sample_rate)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.rename(target)
    return samples
