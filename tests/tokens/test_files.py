"""All formats read back what was written, whole or with an error; no half-written files stay."""

import os
import struct
import zlib

import numpy as np
import pytest

from tests.tokens.examples import MODEL, assert_equal, random_tokens
from uniwav_jax.errors import UserError
from uniwav_jax.tokens import files


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("seed", range(8))
def test_round_trip(suffix, seed, tmp_path):
    rng = np.random.default_rng(seed)
    frames = [0, 1, 256, 700][seed % 4]
    tokens = random_tokens(rng, frames=frames, book_sizes=[1024, 500] if seed < 4 else [2, 65536])
    path = tmp_path / "new" / f"clip{suffix}"
    files.write(path, tokens)
    assert_equal(files.read(path), tokens)
    assert_equal(files.read(str(path), model=MODEL), tokens)
    first = files.read(path, books=1)
    np.testing.assert_array_equal(first.codes, tokens.codes[:, :1])
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(UserError, match=f"clip{suffix} has 2 books, not 3"):
        files.read(path, books=3)
    with pytest.raises(UserError, match=f"clip{suffix} .*{MODEL}, but this is model {'0' * 16}"):
        files.read(path, model="0" * 16)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_damaged_files(suffix, tmp_path):
    """Cut files and changed bytes: an error in one line, or undamaged codes."""
    errors, path = 0, tmp_path / f"clip{suffix}"
    for seed in range(60):
        rng = np.random.default_rng(seed)
        tokens = random_tokens(rng, frames=700, book_sizes=[1024, 300])
        files.write(path, tokens)
        content = bytearray(path.read_bytes())
        if seed % 2:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(len(content))] ^= rng.integers(1, 256)
        path.write_bytes(content)
        try:
            found = files.read(path)
        except UserError as error:
            errors += 1
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        good = ~found.damaged
        np.testing.assert_array_equal(found.codes[good], tokens.codes[good])
    assert errors >= (3 if suffix == ".uwt" else 50)


def test_headers_that_contradict_themselves(tmp_path):
    """Their checksum is right, so another program wrote them."""
    path = tmp_path / "a.uwt"
    files.write(
        path, random_tokens(np.random.default_rng(0), book_sizes=[4], prompt=None, frames=9)
    )
    content = path.read_bytes()
    for place, value in ((6, 300), (20, 0), (24, 0), (52, 3), (60, 0), (60, 1), (68, 255)):
        size = struct.unpack_from("<I", content, 8)[0]
        header = bytearray(content[: size - 4])
        header[place : place + 2] = struct.pack("<H", value)
        path.write_bytes(header + struct.pack("<I", zlib.crc32(header)) + content[size:])
        with pytest.raises(UserError, match=r"a\.uwt"):
            files.read(path)


def test_files_that_are_not_of_tokens(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "folder.uwt").mkdir()
    (tmp_path / "text.parquet").write_text("id\n")
    for name, message in (
        ("none.uwt", "does not exist"),
        ("none.npz", "does not exist"),
        ("none.parquet", "does not exist"),
        ("other.npz", "has no tokens, or is damaged"),
        ("folder.uwt", "has no tokens, or is damaged"),
        ("text.parquet", "has no tokens, or is damaged"),
        ("a.wav", "files of tokens end in .uwt, .npz, .parquet"),
    ):
        with pytest.raises(UserError, match=f"{name}.* ?{message}"):
            files.read(tmp_path / name)
    tokens = random_tokens(np.random.default_rng(0))
    with pytest.raises(UserError, match="end in"):
        files.write(tmp_path / "a.wav", tokens)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_nothing_stays_after_a_failure(suffix, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tokens = random_tokens(rng, frames=2, book_sizes=[4], damaged=np.ones((2, 1), bool))
    path = tmp_path / f"a{suffix}"
    with pytest.raises(UserError, match=f"a{suffix}: .*damaged frames"):
        files.write(path, tokens)
    good = random_tokens(rng)
    files.write(path, good)

    def refuse(*_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="No space left"):
        files.write(path, random_tokens(rng))
    assert os.listdir(tmp_path) == [path.name]
    assert_equal(files.read(path), good)  # the file of before
