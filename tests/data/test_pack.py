"""Packed speech is a tensorflow-datasets folder, which is never left incomplete."""

import shutil

import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
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
