"""Speech tokens as Parquet tables, as language models are trained on: one row for each clip."""

import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uniwav_jax.errors import UserError
from uniwav_jax.tokens.value import Tokens

ROWS = 256  # of a row group; limits memory
NUMBERS = {"samples": pa.int64(), "sample_rate": pa.int32(), "hop": pa.int32()}
TEXTS = ("id", "text", "model", "prompt_name")
# What the clips of a file have in common.
COMMON = ("model", "book_sizes", "sample_rate", "hop")


def write(path: pathlib.Path, clips: Iterable[Tokens], *, name: str) -> int:
    """Write a table; returns the number of rows.

    Columns: codes list of [books] lists int16 (int32 for books of more than 32768 codewords),
    book_sizes, prompt (lists float32, null without), `NUMBERS`, `TEXTS`.

    Args:
        path: of the new file.
        clips: all with the same model, books, sample rate and hop.
        name: of the file in messages.

    Raises:
        UserError: there are no clips, clips differ, or frames are damaged.
    """
    clips, writer, count, first = iter(clips), None, 0, None
    try:
        while group := list(itertools.islice(clips, ROWS)):
            for tokens in group:
                first = first or tokens
                count += 1
                _check(tokens, first, f"{name}: row {count} ({tokens.id})")
            table = _table(group)
            writer = writer or pq.ParquetWriter(
                path, table.schema, compression="zstd", write_page_checksum=True
            )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if not count:
        raise UserError(f"{name}: there are no clips to write")
    return count


def read(path: str | os.PathLike[str]) -> Iterator[Tokens]:
    """Read the clips in turn.

    Raises:
        UserError: a clip is not valid.
        Exception: the file is damaged or not such a table; pyarrow raises many types.
    """
    count = 0
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROWS):
            rest = batch.drop_columns(["codes", "prompt"]).to_pylist()
            arrays = zip(batch.column("codes"), batch.column("prompt"), rest, strict=True)
            for codes, prompt, row in arrays:
                given = {name: row[name] for name in (*NUMBERS, *TEXTS)}
                sizes = row["book_sizes"]
                matrix = _matrix(codes.values, len(sizes))
                voice = None
                if prompt.is_valid:
                    voice = _matrix(prompt.values, len(prompt.values[0]))
                count += 1
                yield Tokens(matrix, sizes, prompt=voice, **given)
        if count != file.metadata.num_rows:  # its last part, which lists the others, is damaged
            raise UserError(f"it has {count} of {file.metadata.num_rows} rows, so it is damaged")


def _check(tokens: Tokens, first: Tokens, place: str) -> None:
    if tokens.damaged.any():
        raise UserError(f"{place} has damaged frames; make these tokens again from audio")
    for field in COMMON:
        mine, others = getattr(tokens, field), getattr(first, field)
        if mine != others:
            raise UserError(f"{place} has {field} {mine}, but the first row has {others}")


def _table(clips: list[Tokens]) -> pa.Table:
    columns = {
        "id": pa.array([tokens.id for tokens in clips], pa.string()),
        "codes": _lists([tokens.codes for tokens in clips]),
        "book_sizes": pa.array([tokens.book_sizes for tokens in clips], pa.list_(pa.int64())),
        "prompt": _lists(
            [None if t.prompt is None else t.prompt.astype(np.float32) for t in clips]
        ),
    }
    for name in TEXTS:
        columns[name] = pa.array([getattr(tokens, name) for tokens in clips], pa.string())
    for name, kind in NUMBERS.items():
        columns[name] = pa.array([getattr(tokens, name) for tokens in clips], kind)
    return pa.table(columns)


def _lists(matrices: list[np.ndarray | None]) -> pa.Array:
    """Lists of lists of matrices [rows, columns]; null for None."""
    given = [matrix for matrix in matrices if matrix is not None]
    values = np.concatenate([m.ravel() for m in given]) if given else np.zeros(0, np.float32)
    widths = np.concatenate([np.full(len(m), m.shape[1]) for m in given] or [np.zeros(0, int)])
    heights = [0 if matrix is None else len(matrix) for matrix in matrices]
    inner = pa.ListArray.from_arrays(_offsets(widths), pa.array(values))
    empty = pa.array([matrix is None for matrix in matrices])
    return pa.ListArray.from_arrays(_offsets(heights), inner, mask=empty)


def _offsets(lengths: Iterable[int]) -> pa.Array:
    return pa.array(np.append(0, np.cumsum(lengths)), pa.int32())


def _matrix(lists: pa.ListArray, columns: int) -> np.ndarray:
    """The inverse of one of `_lists`."""
    lengths = np.diff(lists.offsets.to_numpy())
    if lists.null_count or (lengths != columns).any():
        raise UserError(
            f"a clip's frames have {sorted(set(lengths.tolist()))} values, not {columns}"
        )
    return lists.flatten().to_numpy().reshape(len(lists), columns)
