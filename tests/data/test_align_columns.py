"""Phones of TextGrids as columns of a manifest."""

import numpy as np
import pytest

from uniwav_jax.audio.writer import write_audio
from uniwav_jax.data import align_columns, manifest
from uniwav_jax.errors import UserError
from uniwav_jax.text import textgrid


@pytest.fixture
def folder(tmp_path):
    """Three clips of one second; the TextGrid of c is too long, and that of b is missing."""
    rows = []
    for name in ("a/x", "b/y", "c/x"):
        path = (tmp_path / name).with_suffix(".flac")
        path.parent.mkdir()
        write_audio(path, [np.zeros(16000, np.int16)], sample_rate=16000, container="FLAC")
        rows.append(f"{name}.flac\t16000\t16000\tanna\thello\tgood")
    header = "path\tsamples\tsample_rate\tspeaker\ttext\tquality\n"
    (tmp_path / "all.tsv").write_text(header + "\n".join(rows) + "\n")
    for name, end in (("a", 1.0), ("c", 2.0)):
        (tmp_path / "grids" / name).mkdir(parents=True)
        tiers = {"phones": [(0.0, 0.5, "HH"), (0.5, end, "AY1")], "words": [(0.0, end, "hi")]}
        textgrid.write(str(tmp_path / "grids" / name / "x.TextGrid"), tiers, end)
    return tmp_path


def test_columns_are_added_and_misfits_are_named(folder, capsys):
    out = folder / "phones.tsv"
    failed = align_columns.add(str(folder / "all.tsv"), str(folder / "grids"), str(out))
    printed = capsys.readouterr()
    assert failed == 1 and "c/x.TextGrid ends at 2.00 s" in printed.err
    assert "1 of 3 clips have phones" in printed.out
    corpus = manifest.load(str(out), cache=str(folder))
    assert corpus.name(0) == "a/x.flac" and corpus.label(0, "quality") == "good"
    assert corpus.label(0, "phones") == "HH_B AY1_E"
    assert corpus.label(0, "phone_ends") == "0.500 1.000"


def test_a_manifest_in_another_folder_names_the_same_files(folder):
    (folder / "lists").mkdir()
    out = folder / "lists" / "phones.tsv"
    align_columns.add(str(folder / "all.tsv"), str(folder / "grids"), str(out))
    corpus = manifest.load(str(out), cache=str(folder))
    assert corpus.path(0) == str(folder / "a" / "x.flac")


def test_without_textgrids(folder):
    (folder / "none").mkdir()
    with pytest.raises(UserError, match=r"no clip of .* has a usable TextGrid"):
        align_columns.add(str(folder / "all.tsv"), str(folder / "none"), str(folder / "o.tsv"))
    assert not (folder / "o.tsv").exists()
