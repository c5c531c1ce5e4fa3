"""Packed speech is a tensorflow-datasets folder, which is never left incomplete."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.errors import UserError

pack = cli.shortcut("data", "pack")


@pytest.fixture
def corpus(small_corpus, tmp_path):
    """Copies of four clips with their manifest."""
    for clip in sorted(small_corpus.glob("*.flac"))[:4]:
        shutil.copy(clip, tmp_path)
    lines = (small_corpus / "manifest.tsv").read_text().splitlines()[:5]
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_packed_folder_is_a_tfds_dataset(corpus, tmp_path):
    import tensorflow_datasets as tfds

    pack([str(corpus / "manifest.tsv"), "--out", str(tmp_path / "packed")])
    source = tfds.builder_from_directory(str(tmp_path / "packed")).as_data_source("train")
    clips = sorted(corpus.glob("*.flac"))
    assert len(source) == len(clips)
    for example, clip in zip(source, clips):
        np.testing.assert_array_equal(example["speech"], soundfile.read(clip, dtype="int16")[0])
        assert example["id"] == clip.name.encode()


def test_columns_of_own_tasks_are_kept(corpus, tmp_path):
    """Also where a column has the name of a field of the records, and JSON has more than text."""
    names = sorted(clip.name for clip in corpus.glob("*.flac"))[:2]
    rows = [
        {
            **{"path": name, "samples": 1, "sample_rate": 16000, "text": "a\tb\nc"},
            **{"id": f"clip {name}", "emotion": 3, "tags": ["x", "y"]},
        }
        for name in names
    ]
    manifest, out = corpus / "m.jsonl", tmp_path / "packed"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pack([str(manifest), "--out", str(out)]) == 0
    found = manifest_lib.load(str(out), cache=str(tmp_path / "cache"))
    assert found.more == ("id", "emotion", "tags")
    for row, name in enumerate(names):
        assert (found.name(row), found.label(row, "text")) == (name, "a b c")
        values = [found.label(row, column) for column in found.more]
        assert values == [f"clip {name}", "3", '["x", "y"]']


def test_packing_leaves_no_incomplete_folder(corpus, tmp_path, capsys):
    clips = sorted(corpus.glob("*.flac"))
    clips[0].write_bytes(b"")
    out = tmp_path / "packed"
    assert pack([str(corpus / "manifest.tsv"), "--out", str(out)]) == 0
    assert f"{clips[0]}\tcannot be decoded: it has 0 bytes" in (out / "left_out.tsv").read_text()
    with pytest.raises(UserError, match="is not empty"):
        pack([str(corpus / "manifest.tsv"), "--out", str(out)])
    for clip in clips:
        clip.unlink()
    with pytest.raises(UserError, match="no clip could be read"):
        pack([str(corpus / "manifest.tsv"), "--out", str(tmp_path / "p2")])
    assert not list(tmp_path.glob("*p2*"))
