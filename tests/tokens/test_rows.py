"""Tables of tokens: their columns as other programs see them, many clips, clips that differ."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tokens.examples import MODEL, assert_equal, random_tokens
from uniwav_jax.errors import UserError
from uniwav_jax.tokens import files, rows


def clips(count: int, **fields):
    rng = np.random.default_rng(0)
    fields = {"book_sizes": [1024, 1024], **fields}
    return [random_tokens(rng, **fields, frames=int(rng.integers(30))) for _ in range(count)]


def test_columns(tmp_path):
    path, given = tmp_path / "a.parquet", clips(5)
    assert files.write_rows(path, given) == 5
    table = pq.read_table(path)
    assert table.schema.field("codes").type == pa.list_(pa.list_(pa.int16()))
    for row, tokens in zip(table.to_pylist(), given, strict=True):
        assert row["codes"] == tokens.codes.tolist()
        assert row["book_sizes"] == [1024, 1024] and row["model"] == MODEL
        assert (row["id"], row["text"], row["samples"]) == (tokens.id, tokens.text, tokens.samples)
        assert (row["sample_rate"], row["hop"]) == (16000, 320)
        assert row["prompt"] == (None if tokens.prompt is None else tokens.prompt.tolist())
    wide = clips(2, book_sizes=[2**16])
    files.write_rows(path, wide)
    assert pq.read_table(path).schema.field("codes").type == pa.list_(pa.list_(pa.int32()))


def test_more_rows_than_a_row_group(tmp_path):
    path, given = tmp_path / "a.parquet", clips(2 * rows.ROWS + 3)
    files.write_rows(path, iter(given))
    assert pq.ParquetFile(path).num_row_groups == 3
    found = list(files.read_all(path, books=1, model=MODEL))
    for mine, tokens in zip(found, given, strict=True):
        assert_equal(mine, tokens.first(1))
    with pytest.raises(UserError, match=r"a\.parquet has several clips"):
        files.read(path)


def test_clips_that_differ(tmp_path):
    path, given = tmp_path / "a.parquet", clips(3)
    other = random_tokens(np.random.default_rng(1), book_sizes=[512, 1024], id="last")
    with pytest.raises(UserError, match=r"a.parquet: row 4 \(last\) has book_sizes \(512, 1024\)"):
        files.write_rows(path, [*given, other])
    with pytest.raises(UserError, match=r"a\.parquet: there are no clips"):
        files.write_rows(path, [])
    assert not list(tmp_path.iterdir())


def test_tables_that_are_not_of_tokens(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(UserError, match=r"a\.parquet has no tokens"):
        files.read(path)
    files.write_rows(path, clips(2))
    table = pq.read_table(path).to_pylist()
    table[1]["codes"] = [[1, 2], [3]]
    pq.write_table(pa.Table.from_pylist(table), path)
    with pytest.raises(UserError, match=r"a.parquet: a clip's frames have \[1, 2\] values, not 2"):
        list(files.read_all(path))


def test_missing_rows_are_noticed(tmp_path, monkeypatch):
    """One changed bit in the last part of a file, which has no checksum, can hide its rows."""
    path = tmp_path / "a.parquet"
    files.write_rows(path, clips(2))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_: iter(()))
    with pytest.raises(UserError, match=r"a\.parquet: it has 0 of 2 rows"):
        list(files.read_all(path))
