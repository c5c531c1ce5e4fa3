"""The format .uwt: exact sizes, round trips, and whatever is undamaged of a damaged file."""

import dataclasses
import io
import re
import struct
import zlib

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.tokens.examples import FRAMES, MODEL, assert_equal, random_tokens
from uniwav_jax.errors import UserError
from uniwav_jax.tokens import uwt


def decode(content: bytes, **options):
    return uwt.decode(io.BytesIO(content), name="a.uwt", **options)


@pytest.mark.parametrize("seed", range(60))
def test_round_trip(seed):
    rng = np.random.default_rng(seed)
    tokens = random_tokens(rng, frames=FRAMES[seed % len(FRAMES)])
    content = uwt.encode(tokens)
    assert_equal(decode(content), tokens)
    books = int(rng.integers(1, tokens.books + 1))
    assert_equal(decode(content, books=books), tokens.first(books))


@pytest.mark.parametrize(("size", "bits"), [(2, 1), (3, 2), (1000, 10), (1024, 10), (1025, 11)])
def test_codes_take_the_bits_of_their_book(size, bits):
    tokens = random_tokens(np.random.default_rng(0), frames=512, book_sizes=[size], prompt=None)
    empty = dataclasses.replace(tokens, codes=tokens.codes[:0], damaged=None)
    difference = len(uwt.encode(tokens)) - len(uwt.encode(empty))
    assert difference == 512 * bits // 8 + 2 * 4  # two blocks with a CRC32


def test_bytes_are_those_of_the_documentation():
    """A file of one frame, byte by byte."""
    fields = {"book_sizes": [1024, 3], "codes": np.array([[0x2A5, 2]]), "samples": 320}
    tokens = random_tokens(
        np.random.default_rng(0), **fields, prompt=[[1.0, -2.0]], prompt_name="v", id="i", text="tx"
    )
    header = b"\x89UWT" + bytes.fromhex("0100 0200") + struct.pack("<I", 60 + 8 + 4 + 4)
    header += bytes.fromhex(MODEL) + struct.pack("<IIQI", 16000, 320, 320, 1)
    header += struct.pack("<IIIII", 1, 2, 1, 1, 2) + struct.pack("<II", 1024, 3) + b"vitx"
    seal = zlib.crc32(header)
    content = header + struct.pack("<I", seal)
    for book, data in enumerate((b"\xa5\x02", b"\x02", struct.pack("<ee", 1.0, -2.0))):
        content += data + struct.pack("<I", zlib.crc32(struct.pack("<III", seal, book, 0) + data))
    assert uwt.encode(tokens) == content


def test_reader_in_the_documentation():
    """It is short, needs only Python, and reads what this package writes."""
    text = (REPOSITORY / "docs" / "tokens.md").read_text()
    block = text.split("<!-- test: file read_uwt.py -->\n```python\n")[1].split("```")[0]
    assert len([line for line in block.splitlines() if line]) <= 24 and "import numpy" not in block
    assert re.findall(r"^(?:import|from) (.*)$", block, re.M) == ["struct", "zlib"]
    names: dict = {}
    exec(block, names)
    for seed in range(10):
        tokens = random_tokens(np.random.default_rng(seed))
        books = names["read_uwt"](uwt.encode(tokens))
        np.testing.assert_array_equal(np.array(books).T.reshape(tokens.codes.shape), tokens.codes)
    content = bytearray(uwt.encode(random_tokens(np.random.default_rng(0), frames=9, prompt=None)))
    content[-1] ^= 1
    with pytest.raises(AssertionError, match="damaged"):
        names["read_uwt"](bytes(content))


def places(tokens) -> list[tuple[int, int, int, int]]:
    """Book, block, first byte and end of each block with its CRC32."""
    empty = dataclasses.replace(tokens, codes=tokens.codes[:0], damaged=None, prompt=None)
    place, found = len(uwt.encode(empty)), []
    for book, size in enumerate(tokens.book_sizes):
        for first in range(0, len(tokens.codes), 256):
            count = min(256, len(tokens.codes) - first)
            end = place + (count * (size - 1).bit_length() + 7) // 8 + 4
            found.append((book, first // 256, place, end))
            place = end
    return found


def damage(content: bytes, tokens, rng: np.random.Generator) -> bytes:
    """A file that was cut, or has other bytes, swapped blocks, or another bit in its header."""
    changed, kind, blocks = bytearray(content), rng.integers(5), places(tokens)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        for place in rng.integers(len(content), size=rng.integers(1, 6)):
            changed[place] ^= rng.integers(1, 256)
    elif kind == 2 and len(blocks) > 1:
        (*_, a, b), (*_, c, d) = (blocks[i] for i in sorted(rng.choice(len(blocks), 2, False)))
        changed = content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]
    elif kind == 3:
        first = rng.integers(len(content))  # a hole of zeros, as on a broken disk
        changed[first : first + 64] = bytes(len(changed[first : first + 64]))
    else:
        place = rng.integers(blocks[0][2] if blocks else len(content))
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_damaged_files(first):
    """200 files: an error in one line, or the undamaged blocks are exact and the others listed."""
    for seed in range(first, first + 20):
        rng = np.random.default_rng(seed)
        tokens = random_tokens(rng, frames=int(rng.choice([256, 700, 1024])))
        content = uwt.encode(tokens)
        changed = damage(content, tokens, rng)
        if changed == content:  # swapped blocks of equal content, or zeros on zeros
            continue
        try:
            found = decode(changed)
        except UserError as error:
            assert str(error).startswith("a.uwt") and "\n" not in str(error)
            continue
        assert found.damage and not found.damaged.all()
        good = ~found.damaged
        np.testing.assert_array_equal(found.codes[good], tokens.codes[good])
        assert not found.codes[found.damaged].any()
        for name in ("book_sizes", "samples", "model", "text", "id"):
            assert getattr(found, name) == getattr(tokens, name)
        if tokens.prompt is not None and found.prompt is not None:
            np.testing.assert_array_equal(found.prompt, tokens.prompt)
        for book, block, start, end in places(tokens):  # exactly those blocks that differ
            span = found.damaged[block * 256 : (block + 1) * 256, book]
            assert span.all() == span.any() == (changed[start:end] != content[start:end])


def test_damage_is_named():
    tokens = random_tokens(
        np.random.default_rng(0), frames=1024, book_sizes=[1024, 4], prompt=[[1.0]], prompt_name="v"
    )
    content, blocks = uwt.encode(tokens), places(tokens)
    changed = bytearray(content)
    for number in (1, 2, 4):  # two blocks of book 1, one of book 2
        changed[blocks[number][2]] ^= 1
    changed[-1] ^= 1
    found = decode(bytes(changed) + b"more")
    assert found.damage == (
        "book 1: frames 256 to 767 (5.12 to 15.36 s) are damaged",
        "book 2: frames 0 to 255 (0.00 to 5.12 s) are damaged",
        "the prompt 'v' is damaged",
        f"the file has {len(content) + 4} bytes, but should have {len(content)}",
    )
    assert found.prompt is None and found.prompt_name == "v"
    with pytest.raises(UserError, match="damaged frames cannot be written"):
        uwt.encode(found)


def test_a_file_cut_after_its_first_book_still_has_it():
    tokens = random_tokens(np.random.default_rng(0), frames=700, book_sizes=[1024, 1024])
    content, blocks = uwt.encode(tokens), places(tokens)
    found = decode(content[: blocks[3][2]], books=1)
    np.testing.assert_array_equal(found.codes, tokens.codes[:, :1])
    assert not found.damaged.any() and "should have" in found.damage[-1]


def test_blocks_of_another_file_do_not_fit():
    """Not even those of the same place, so two recordings are never mixed."""
    one, other = (
        random_tokens(np.random.default_rng(0), frames=512, book_sizes=[256], id=name, prompt=None)
        for name in ("a", "b")
    )
    assert uwt.encode(one) != uwt.encode(other)
    start, end = places(one)[1][2:]
    mixed = uwt.encode(one)[:start] + uwt.encode(other)[start:end]
    assert decode(mixed).damaged[:, 0].tolist() == [False] * 256 + [True] * 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"RIFF" + c[4:], "a.uwt is not a .uwt file"),
        (lambda c: b"", "a.uwt is not a .uwt file"),
        (lambda c: c[:30], "cut off after 30 bytes, inside its header"),
        (lambda c: c[:65], "a.uwt: its header is damaged or cut off"),
        (lambda c: c[:4] + b"\x02" + c[5:], "version 2 of the format .uwt; .* reads version 1"),
        (lambda c: c[:8] + b"\xff\xff\xff\xff" + c[12:], "its header is damaged"),
        (lambda c: c[:8] + b"\0\0\0\0" + c[12:], "its header is damaged"),
        (lambda c: c[:90] + bytes(len(c) - 90), "a.uwt: .* damaged"),
        (lambda c: c[:80], "all of its blocks are damaged"),
    ],
)
def test_files_of_which_nothing_is_left(change, message):
    tokens = random_tokens(
        np.random.default_rng(0), frames=500, book_sizes=[1024], prompt=None, id="", text=""
    )
    with pytest.raises(UserError, match=message):
        decode(change(uwt.encode(tokens)))


def test_books_that_a_file_has_not():
    content = uwt.encode(random_tokens(np.random.default_rng(0), book_sizes=[4, 4]))
    for books in (0, 3):
        with pytest.raises(UserError, match=f"a.uwt has 2 books, not {books}"):
            decode(content, books=books)


def test_codes_beyond_their_book_are_damage():
    """Another program may have written them, with checksums that fit."""
    codes = np.array([[1, 1], [3, 1]])
    tokens = random_tokens(np.random.default_rng(0), codes=codes, book_sizes=[4, 4], prompt=None)
    object.__setattr__(tokens, "book_sizes", (3, 4))
    found = decode(uwt.encode(tokens))
    assert found.damaged.tolist() == [[True, False]] * 2
    assert found.damage == ("book 1: frames 0 to 1 (0.00 to 0.04 s) are damaged",)
