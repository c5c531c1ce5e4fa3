"""FLAC by dr_flac, which gives the same samples as libsndfile in less time; lengths of FLAC files.

The header of a FLAC file states its number of samples, which programs that cut or repair files do
not always correct. The last frame knows its place in the file.
"""

import re

import numpy as np

try:
    from miniaudio import ffi, lib  # dr_flac; its public functions copy twice
except ImportError:  # no wheel for this machine, see setup.py
    lib = None

MARK = b"fLaC"
HEADER = 42  # bytes of the mark and of the block that describes the stream
FRAME = re.compile(rb"\xff[\xf8\xf9]")  # the beginning of a frame (RFC 9639, section 9.1)
LARGEST = 1 << 17  # bytes of the largest frame where the header does not state it
ID3V1 = 128  # bytes of a tag at the end of a file, which begins with TAG


def states_its_length(source: str | bytes) -> bool:
    """Whether a FLAC ends with the frame with which it should end according to its header.

    Args:
        source: path of a local file, or its content, which begins with `MARK`.
    """
    if isinstance(source, bytes):
        return _ends_well(source[:HEADER], source[-LARGEST - 16 :])
    with open(source, "rb") as file:
        head = file.read(HEADER)
        largest = int.from_bytes(head[15:18], "big") or LARGEST
        size = file.seek(0, 2)
        file.seek(max(size - largest - 16, 0))
        return _ends_well(head, file.read())


def _ends_well(head: bytes, tail: bytes) -> bool:
    if len(head) < HEADER or tail[-ID3V1:].startswith(b"TAG"):
        return False
    block = int.from_bytes(head[8:10], "big")
    total = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    places = [found.start() for found in FRAME.finditer(tail)]
    return any(_end(tail[place : place + 16], block) == total > 0 for place in reversed(places))


def _end(frame: bytes, block: int) -> int:
    """The number of the sample after a frame with this header; -1 if it is no header.

    Args:
        frame: at least the header, at most 16 bytes.
        block: samples of a frame in a file whose frames are of one length.
    """
    if len(frame) < 6:
        return -1
    more = 8 - (frame[4] ^ 0xFF).bit_length()  # a number as in UTF-8, of up to seven bytes
    if more in (1, 8):
        return -1
    size, rate = frame[2] >> 4, frame[2] & 15
    after_number = 4 + max(more, 1)
    after_size = after_number + {6: 1, 7: 2}.get(size, 0)
    end = after_size + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if len(frame) <= end or size == 0 or rate == 15 or _crc8(frame[:end]) != frame[end]:
        return -1
    number = frame[4] & (0xFF >> (more + 1))
    for byte in frame[5:after_number]:
        number = number << 6 | byte & 0x3F
    if after_size > after_number:
        samples = int.from_bytes(frame[after_number:after_size], "big") + 1
    else:
        samples = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    return (number if frame[1] & 1 else number * block) + samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value << 1 & 0xFF ^ (7 if value & 0x80 else 0)
    return value


def decode(data: bytes, *, sample_rate: int, longest: int) -> np.ndarray | None:
    """Decode all of a mono 16-bit FLAC.

    dr_flac leaves out damaged blocks without an error, so damage shows only in the number of
    samples. That is why this function decodes whole files and cannot seek.

    Args:
        data: content of the file, which is not of FLAC if it does not begin with `MARK`.
        sample_rate: rate in Hz that the file must have.
        longest: largest number of samples.

    Returns:
        int16 [n], or None where libsndfile must read the file: another kind of FLAC, another rate,
        more than `longest` samples, a length that is not that of its header, or damage.
    """
    if data[:4] != MARK or data.find(MARK + b"\0\0\0\x22", 4) > 0 or not states_its_length(data):
        return None  # two files in one, or a wrong header
    flac = lib.ma_dr_flac_open_memory(data, len(data), ffi.NULL) if lib else None
    if not flac:
        return None
    try:
        count = flac.totalPCMFrameCount
        if (flac.channels, flac.bitsPerSample, flac.sampleRate) != (1, 16, sample_rate):
            return None
        if not 0 < count <= longest:
            return None
        audio = np.empty(count, np.int16)
        target = ffi.from_buffer("ma_dr_flac_int16[]", audio, require_writable=True)
        read = lib.ma_dr_flac_read_pcm_frames_s16(flac, count, target)
        return audio if read == count else None
    finally:
        lib.ma_dr_flac_close(flac)
