"""The file format .uwt, version 1: packed codes in blocks with checksums (docs: tokens.md).

    header   `HEADER`, the book sizes (uint32 each), prompt_name, id and text in UTF-8, CRC32
    blocks   book by book, `BLOCK` frames each: packed codes, CRC32
    prompt   float16 [frames, channels], CRC32; only if the header counts it

All numbers are little-endian integers. A code takes ceil(log2 size) bits; the first code of a block
has the lowest bits of its first byte. The header's CRC32 is of the bytes before it. Those of blocks
are of `PLACE` and the data: the header's CRC32, the book and the number of the block, so that a
block of another file or of another place does not fit. The prompt counts as a block of the book
after the last.
"""

import os
import struct
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.tokens.value import Tokens

MAGIC, VERSION = b"\x89UWT", 1
BLOCK = 256  # frames
PLACE, NUMBER = struct.Struct("<III"), struct.Struct("<I")
HEADER = struct.Struct("<4sHHI8sIIQIIIIII")


class Header(NamedTuple):
    """The fields of `HEADER`; `header_bytes` counts all of the header with its CRC32."""

    magic: bytes
    version: int
    books: int
    header_bytes: int
    model: bytes
    sample_rate: int
    hop: int
    samples: int
    frames: int
    prompt_frames: int
    prompt_channels: int
    name_bytes: int
    id_bytes: int
    text_bytes: int


def code_bits(size: int) -> int:
    """Bits of a code in the file: log2 of the book's size, rounded up."""
    return (size - 1).bit_length()


def encode(tokens: Tokens) -> bytes:
    """The content of a file.

    Raises:
        UserError: some frames are damaged, which no file can express.
    """
    if tokens.damaged.any():
        raise UserError("tokens with damaged frames cannot be written; make them again from audio")
    names = [text.encode() for text in (tokens.prompt_name, tokens.id, tokens.text)]
    sizes = b"".join(map(NUMBER.pack, tokens.book_sizes))
    header_bytes = HEADER.size + len(sizes) + sum(map(len, names)) + NUMBER.size
    fixed = Header(
        MAGIC,
        VERSION,
        tokens.books,
        header_bytes,
        bytes.fromhex(tokens.model),
        tokens.sample_rate,
        tokens.hop,
        tokens.samples,
        len(tokens.codes),
        *((0, 0) if tokens.prompt is None else tokens.prompt.shape),
        *map(len, names),
    )
    header = HEADER.pack(*fixed) + sizes + b"".join(names)
    seal = zlib.crc32(header)
    parts = [header, NUMBER.pack(seal)]
    for book, size in enumerate(tokens.book_sizes):
        for number in range(-(-len(tokens.codes) // BLOCK)):
            codes = tokens.codes[number * BLOCK :][:BLOCK, book]
            parts += _sealed(_pack(codes, code_bits(size)), seal, book, number)
    if tokens.prompt is not None:
        parts += _sealed(tokens.prompt.astype("<f2").tobytes(), seal, tokens.books, 0)
    return b"".join(parts)


def decode(file: BinaryIO, *, name: str, books: int | None = None) -> Tokens:
    """Read a file, as far as it is undamaged.

    Args:
        file: at its start; it can seek.
        name: of the file in messages.
        books: number of books to read; those after them are skipped. None: all.

    Returns:
        The tokens; `damaged` marks the frames of damaged blocks, and `damage` lists them. A damaged
        prompt is None.

    Raises:
        UserError: it is another kind of file or version, the header or all blocks are damaged, or
            there are fewer books than `books`.
    """
    header, sizes, names, seal = _read_header(file, name)
    wanted = header.books if books is None else books
    if not 1 <= wanted <= header.books:
        raise UserError(f"{name} has {header.books} books, not {books}")
    codes = np.zeros((header.frames, wanted), np.int64)
    damaged, damage = np.zeros(codes.shape, bool), []
    for book, size in enumerate(sizes[:wanted]):
        for first in range(0, header.frames, BLOCK):
            count, bits = min(BLOCK, header.frames - first), code_bits(size)
            place, span = (seal, book, first // BLOCK), slice(first, first + count)
            data = _unsealed(file, _packed_bytes(count, bits), place)
            values = None if data is None else _unpack(data, count, bits)
            if values is None or values.max() >= size:
                damaged[span, book] = True
            else:
                codes[span, book] = values
        damage += _spans(damaged[:, book], book, header.hop / header.sample_rate)
    if header.frames and damaged.all():
        raise UserError(f"{name}: all of its blocks are damaged, so nothing of it can be decoded")

    prompt, shape = None, (header.prompt_frames, header.prompt_channels)
    end = header.header_bytes + sum(_book_bytes(header.frames, code_bits(size)) for size in sizes)
    if shape != (0, 0):
        file.seek(end)
        data = _unsealed(file, 2 * shape[0] * shape[1], (seal, header.books, 0))
        end += 2 * shape[0] * shape[1] + NUMBER.size
        if data is None:
            damage.append(f"the prompt {names[0]!r} is damaged")
        else:
            prompt = np.frombuffer(data, "<f2").reshape(shape)
    length = file.seek(0, os.SEEK_END)
    if length != end:
        damage.append(f"the file has {length} bytes, but should have {end}")
    return Tokens(
        codes,
        sizes[:wanted],
        header.sample_rate,
        header.hop,
        header.samples,
        header.model.hex(),
        prompt,
        *names,
        damaged,
        tuple(damage),
    )


def _read_header(file: BinaryIO, name: str) -> tuple[Header, tuple[int, ...], tuple[str, ...], int]:
    """The fields, the book sizes, the texts and the CRC32 of the header."""
    start = file.read(HEADER.size)
    if start[: len(MAGIC)] != MAGIC:
        raise UserError(f"{name} is not a .uwt file, or its first bytes are damaged")
    if len(start) < HEADER.size:
        raise UserError(f"{name} is cut off after {len(start)} bytes, inside its header")
    header = Header(*HEADER.unpack(start))
    if header.version != VERSION:
        raise UserError(
            f"{name} has version {header.version} of the format .uwt; this program reads version"
            f" {VERSION}"
        )
    header_bytes = start + file.read(max(header.header_bytes - HEADER.size, 0))
    content, stored = header_bytes[: -NUMBER.size], header_bytes[-NUMBER.size :]
    seal = zlib.crc32(content)
    if len(header_bytes) != header.header_bytes or NUMBER.pack(seal) != stored:
        raise UserError(f"{name}: its header is damaged or cut off, so nothing of it can be read")
    sizes = struct.unpack_from(f"<{header.books}I", content, HEADER.size)
    texts, place = [], HEADER.size + NUMBER.size * header.books
    for count in (header.name_bytes, header.id_bytes, header.text_bytes):
        texts.append(content[place : place + count].decode())
        place += count
    return header, sizes, tuple(texts), seal


def _sealed(data: bytes, *place: int) -> tuple[bytes, bytes]:
    return data, NUMBER.pack(zlib.crc32(data, zlib.crc32(PLACE.pack(*place))))


def _unsealed(file: BinaryIO, count: int, place: tuple[int, int, int]) -> bytes | None:
    """Read data and its CRC32; None if they do not fit, or the file ends before."""
    data, seal = file.read(count), file.read(NUMBER.size)
    return data if _sealed(data, *place)[1] == seal else None


def _packed_bytes(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def _book_bytes(frames: int, bits: int) -> int:
    whole, rest = divmod(frames, BLOCK)
    data = whole * _packed_bytes(BLOCK, bits) + _packed_bytes(rest, bits)
    return data + NUMBER.size * (whole + (rest > 0))


def _pack(codes: np.ndarray, bits: int) -> bytes:
    """Pack codes [count]; bit j of code i is bit i * bits + j of the block."""
    spread = codes[:, None].astype(np.int64) >> np.arange(bits) & 1
    return np.packbits(spread.astype(np.uint8), bitorder="little").tobytes()


def _unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    flat = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits, bitorder="little")
    return flat.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits))


def _spans(damaged: np.ndarray, book: int, seconds: float) -> list[str]:
    """A sentence for each run of damaged frames; `seconds` is the length of a frame."""
    edges = np.flatnonzero(np.diff(damaged, prepend=False, append=False))
    return [
        f"book {book + 1}: frames {first} to {end - 1} ({first * seconds:.2f} to"
        f" {end * seconds:.2f} s) are damaged"
        for first, end in edges.reshape(-1, 2).tolist()
    ]
