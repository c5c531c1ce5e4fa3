"""Decoders of audio files: blocks [n, channels] at the file's own rate, up to its real end.

libsndfile reads plain samples and FLAC in containers that state their length, and Ogg of one part.
FFmpeg (through PyAV) reads everything else. libsndfile 1.2.2 would read too little of it without an
error: MP3 without a Xing header ends where its first frames promise, chained Ogg after its first
part, FLAC and AU where a wrong header says, and a WAV of a recorder that was killed (its sizes are
0) at once; or too much, as the padding of GSM 6.10.
"""

import contextlib
import io
import os
import pathlib
import re
import struct
from collections.abc import Iterator

import av
import numpy as np
import soundfile
from etils import epath

from uniwav_jax.audio import flac

# First bytes of the containers whose length libsndfile knows: WAV, W64, FLAC, AIFF, CAF, NIST.
TRUSTED = (b"RIFF", b"RIFX", b"RF64", b"riff", flac.MARK, b"FORM", b"caff", b"NIST")
# Encodings, besides FLAC, that it seeks to the exact sample and whose last block is not padded.
PLAIN = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
OGG_PAGE = re.compile(rb"OggS\x00(.)", re.DOTALL)
UNKNOWN_LENGTH = 2**62  # libsndfile reports 2**63 - 1 for a FLAC that was written to a pipe
# WAV with sizes of 64 bits (EBU Tech 3306, ITU-R BS.2088): at these bytes those of the file and of
# the samples, and the number of samples. The recorder writes them at the end.
LARGE_WAV, LARGE_SIZES = (b"RF64", b"BW64"), slice(20, 44)
POINTER = b"version https://git-lfs"  # what Git LFS leaves in place of a file
MAX_DAMAGED = 0.01  # share of the packets that cannot be decoded, beyond which a file is damaged
# Tags need not be UTF-8; PyAV 19 has no such option any more.
TAGS = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
RAW_FORMATS = {".g722": "g722"}  # files without a header that names their format


class BadAudioError(Exception):
    """A clip that cannot be used; the message says why, without naming the file."""


class Decoder:
    """One open file, which is read from one place on.

    Attributes:
        sample_rate: the file's own rate in Hz.
        channels: number of channels.
        samples: samples per channel where the container states them reliably, otherwise None.
        stored: True if the file's samples are int16, which `read` then returns.
    """

    sample_rate: int
    channels: int
    samples: int | None = None
    stored: bool = False

    def seek(self, sample: int) -> int:
        """Go to `sample` if that is possible to the exact sample; returns the new place."""
        return 0

    def read(self, count: int) -> np.ndarray:
        """The next samples, [n, channels]; n < `count` at the end only.

        Returns:
            int16 if `stored`, otherwise float32 in [-1, 1] or beyond it.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""


@contextlib.contextmanager
def opened(path: str) -> Iterator[Decoder]:
    """The decoder of a file, local or gs://, for a `with` statement.

    Raises:
        BadAudioError: also from the body of the statement: the file is missing, or is not audio, or
            is damaged at the place that is read.
    """
    decoder = None
    try:
        decoder = _open(path)
        yield decoder
    except FileNotFoundError as error:
        raise BadAudioError("does not exist") from error
    except av.error.PatchWelcomeError as error:
        raise BadAudioError(
            "cannot be decoded to its end: its sample rate, channels or codec change in it, or"
            " FFmpeg does not know its codec; cut it there, or write it again from its source"
        ) from error
    except (soundfile.LibsndfileError, av.FFmpegError, OSError, RuntimeError, ValueError) as error:
        text = getattr(error, "error_string", "") or getattr(error, "strerror", "") or str(error)
        reason = " ".join(text.replace(path, "file").split()).rstrip(".") or "damaged"
        raise BadAudioError(f"cannot be decoded: {reason}; {_advice(path)}") from error
    finally:
        if decoder is not None:
            decoder.close()


def _advice(path: str) -> str:
    """What to do with a file that no decoder can read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:  # not in a bucket
        head = file.read(len(POINTER))
        if head == POINTER:
            return "it only points to the audio: fetch that with git lfs pull"
        if head.startswith(b"NIST"):
            return "if shorten compressed it, run sph2pipe -f wav IN.sph OUT.wav"
    return "copy it again, or convert it again from its source"


def read_bytes(path: str) -> bytes:
    """Content of a file, local or gs://."""
    return epath.Path(path).read_bytes()


def _open(path: str) -> Decoder:
    remote = "://" in path
    if not remote and not os.path.exists(path):
        raise FileNotFoundError(path)
    data = read_bytes(path) if remote else None
    if data is not None:
        head = data[:4]
    else:
        with open(path, "rb") as start:
            head = start.read(4)
    if not head:
        raise ValueError("it has 0 bytes")
    if head == POINTER[:4]:
        raise ValueError("it is text")
    ogg = head == b"OggS"
    trusted = head in TRUSTED
    if head == flac.MARK:
        trusted = flac.states_its_length(path if data is None else data)
    elif ogg:
        trusted = not _chained(data or pathlib.Path(path).read_bytes())
    if trusted:
        # FFmpeg finds the audio, if there is any, where libsndfile does not.
        with contextlib.suppress(soundfile.LibsndfileError):
            file = _SoundFile(path if data is None else io.BytesIO(data))
            if (ogg or file.exact) and 0 < file.samples < UNKNOWN_LENGTH:
                return file
            file.close()
    source = path if data is None else io.BytesIO(data)
    if head in LARGE_WAV:
        head = _with_size(path if data is None else data)
        source = _Corrected(path, head) if data is None else io.BytesIO(head + data[len(head) :])
    return _FFmpeg(source, path)


def _with_size(source: str | bytes) -> bytes:
    """The first bytes of a file of `LARGE_WAV`, with its own size where they state none.

    Args:
        source: path of a local file, or its content.
    """
    if isinstance(source, bytes):
        head, size = source[: LARGE_SIZES.stop], len(source)
    else:
        with open(source, "rb") as file:
            head, size = file.read(LARGE_SIZES.stop), os.path.getsize(source)
    if head[12:16] != b"ds64" or len(head) < LARGE_SIZES.stop:
        return head
    _, stated, _ = struct.unpack("<3Q", head[LARGE_SIZES])
    known = 0 < stated < UNKNOWN_LENGTH
    return head if known else head[: LARGE_SIZES.start] + struct.pack("<3Q", size, size, 0)


def _chained(ogg: bytes) -> bool:
    """Whether streams begin after the first page of sound: the file has parts one after another.

    In the header of a page byte 5 has the bit 2 at the beginning of a stream (RFC 3533, section 6).
    """
    beginnings = [bool(page[1][0] & 2) for page in OGG_PAGE.finditer(ogg)]
    return any(beginnings[beginnings.index(False) :]) if False in beginnings else False


def _tag_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that begins with these 10 bytes; 0: it is no such tag."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))


class _Corrected(io.FileIO):
    """A file whose first bytes are read as `head`."""

    def __init__(self, path: str, head: bytes) -> None:
        super().__init__(path)
        self._head = head

    def read(self, count: int = -1) -> bytes:
        place = self.tell()
        data = super().read(count)
        head = self._head[place : place + len(data)]
        return head + data[len(head) :]


class _Forward(soundfile.SoundFile):
    """A file that is read without the seek that soundfile adds to each read.

    In some encodings that seek changes the samples of the next read.
    """

    def seekable(self) -> bool:
        return False


class _SoundFile(Decoder):
    def __init__(self, source: str | io.BytesIO) -> None:
        self.file = _Forward(source)
        self.sample_rate, self.channels = self.file.samplerate, self.file.channels
        self.samples = self.file.frames
        self.stored = self.file.subtype == "PCM_16"
        self.exact = self.file.format == "FLAC" or self.file.subtype in PLAIN
        if self.file.format == "OGG":
            self.file.seek(0)  # else Opus starts too early, see findings/libsndfile_opus_start.sh

    def seek(self, sample: int) -> int:
        return self.file.seek(min(sample, self.samples)) if self.exact else 0

    def read(self, count: int) -> np.ndarray:
        dtype = "int16" if self.stored else "float32"
        return self.file.read(count, dtype=dtype, always_2d=True)

    def close(self) -> None:
        self.file.close()


class _FFmpeg(Decoder):
    def __init__(self, source: str | io.BytesIO | io.FileIO, path: str) -> None:
        suffix = os.path.splitext(path)[1].lower()
        self._source = source
        self._container = av.open(source, format=RAW_FORMATS.get(suffix), **TAGS)
        self._flac = self._container.format.name == "flac"  # a file that lost its end is damaged
        if not self._container.streams.audio:
            self.close()
            raise ValueError("there is no sound in it")
        self._blocks = self._decode()
        try:
            self._rest = next(self._blocks, None)
        except Exception:
            self.close()
            raise
        if self._rest is None:
            self.close()
            raise BadAudioError("has no audio")
        self.channels = self._rest.shape[1]

    def _decode(self) -> Iterator[np.ndarray]:
        to_float, self.sample_rate = None, 0
        for frame in self._frames():
            if to_float is None:
                to_float, self.sample_rate = av.AudioResampler(format="fltp"), frame.sample_rate
            if frame.sample_rate != self.sample_rate:
                raise BadAudioError(
                    f"changes its sample rate from {self.sample_rate} to {frame.sample_rate} Hz;"
                    " cut it there"
                )
            for block in to_float.resample(frame):
                yield np.ascontiguousarray(block.to_ndarray().T)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """All frames; a few damaged packets are left out, and the tags between joined MP3s."""
        packets, damaged, tag = 0, [], 0
        for packet in self._container.demux(audio=0):
            packets += 1
            try:
                yield from packet.decode()
            except av.InvalidDataError as error:
                tag = tag or _tag_size(bytes(packet)[:10])
                if tag == 0:
                    damaged.append(error)
                tag = max(tag - packet.size, 0)
        if len(damaged) > (0 if self._flac else MAX_DAMAGED * packets):
            raise damaged[0]

    def read(self, count: int) -> np.ndarray:
        parts, missing = [], count
        while self._rest is not None and missing > 0:
            parts.append(self._rest[:missing])
            missing -= len(parts[-1])
            self._rest = self._rest[len(parts[-1]) :]
            if not len(self._rest):
                self._rest = next(self._blocks, None)
        if not parts:
            return np.zeros((0, self.channels), np.float32)
        return np.concatenate(parts)

    def close(self) -> None:
        self._container.close()
        if not isinstance(self._source, str):
            self._source.close()
