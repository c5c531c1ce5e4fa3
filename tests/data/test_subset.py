"""Subsets of a manifest: their length, their rows, and what is wrong with a manifest."""

import pytest

from uniwav_jax.data import subset
from uniwav_jax.errors import UserError

HEAD = "path\tsamples\tsample_rate\tspeaker\ttext\n"


def manifest(folder, rows):
    path = folder / "all.tsv"
    path.write_text(HEAD + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def test_rows_with_text_up_to_some_minutes(tmp_path):
    rows = [(f"{n}.flac", 16000 * 12, 16000, "a", f'say "{n}"') for n in range(20)]
    rows.append(("silent.flac", 16000, 16000, "a", ""))
    everything, target = manifest(tmp_path, rows), tmp_path / "some.tsv"
    assert subset.write(everything, target, 1.0) == pytest.approx(1.0)
    first = target.read_text()
    lines = [line.split("\t") for line in first.splitlines()]
    assert "\t".join(lines[0]) + "\n" == HEAD and len(lines) == 6
    for path, *rest in lines[1:]:
        name = path.removeprefix(f"{tmp_path}/")
        assert [name, *rest] in [list(map(str, row)) for row in rows[:20]]
    subset.write(everything, target, 1.0)
    assert target.read_text() == first


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.tsv: No such file"):
        subset.write(tmp_path / "none.tsv", tmp_path / "x.tsv", 1.0)
    other = tmp_path / "list.tsv"
    other.write_text("path\tseconds\ttext\na.flac\t1.0\tgo\n")
    with pytest.raises(UserError, match="has no column samples; make it with 'uniwav data mani"):
        subset.write(other, tmp_path / "x.tsv", 1.0)
    silent = manifest(tmp_path, [("a.flac", 16000, 16000, "a", "")])
    with pytest.raises(UserError, match="has no rows with text"):
        subset.write(silent, tmp_path / "x.tsv", 1.0)
    long = manifest(tmp_path, [("a.flac", 16000 * 90, 16000, "a", "long")])
    with pytest.raises(UserError, match=r"no clip is as short as 0\.5 minutes"):
        subset.write(long, tmp_path / "x.tsv", 0.5)
