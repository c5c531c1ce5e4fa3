"""Damaged packed folders give one line that names the file, or a bad row."""

import random
import shutil

import numpy as np
import pytest

from tests.data.test_pipeline import batches, config_of
from uniwav_jax import cli
from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.data import manifest, packed
from uniwav_jax.data.sources import ClipReader
from uniwav_jax.errors import UserError

pack = cli.shortcut("data", "pack")


@pytest.fixture(scope="module")
def whole(small_corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "packed"
    source = str(small_corpus / "manifest.tsv")
    assert pack([source, "--out", str(folder), "--shard_seconds", "14"]) == 0
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "packed")


def first_shard(folder):
    return min(folder.glob("*.array_record-*"))


@pytest.mark.parametrize(
    "kind, workers",
    [
        ("shard half", 0),
        ("shard half", 1),
        ("shard empty", 0),
        ("shard gone", 0),
        ("dataset_info.json", 0),
        ("features.json", 0),
    ],
)
def test_folder_that_cannot_be_opened(folder, tmp_path, kind, workers):
    file = first_shard(folder) if kind.startswith("shard") else folder / kind
    content = file.read_bytes()
    if kind == "shard gone":
        file.unlink()
    else:
        file.write_bytes(b"" if kind == "shard empty" else content[: len(content) // 2])
    with pytest.raises(UserError, match="pack it again") as error:
        batches(config_of(folder, workers=workers), tmp_path / "cache", 1)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_damage_inside_a_shard_affects_only_its_clips(folder, tmp_path):
    file = first_shard(folder)
    content = bytearray(file.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 3000] = random.Random(0).randbytes(3000)
    file.write_bytes(content)
    items = batches(config_of(folder), tmp_path / "cache", 14)
    problems = {name: reason for item in items for name, reason in item["problems"]}
    assert len(problems) in (1, 2)
    assert all(str(folder) in name for name in problems)
    assert all("Corrupted" in reason and "\n" not in reason for reason in problems.values())


def test_manifest_of_another_folder(folder, tmp_path):
    lines = (folder / "manifest.tsv").read_text().splitlines(True)
    (folder / "manifest.tsv").write_text("".join(lines[:-2]))
    with pytest.raises(UserError, match=r"manifest.tsv has 10 rows, but the shards have 12"):
        batches(config_of(folder), tmp_path / "cache", 1)


def test_latents_with_nan_are_a_bad_clip(tmp_path):
    features = packed.features_dict(2)
    labels = dict.fromkeys(packed.LABELS, "x")
    clips = [{"latents": np.ones((9, 2), np.float16) * x, **labels} for x in (1.0, np.nan)]
    shard = packed.write_shard(tmp_path / "part-00000", iter(clips), features)
    lines = [packed.manifest_line(clip, 9 * 320, 16000) for clip in clips]
    packed.describe(tmp_path, features, [shard], lines)
    rows = manifest.load(str(tmp_path), cache=str(tmp_path / "cache"))
    reader = ClipReader(rows, sample_rate=16000)
    assert reader.read_latents(0, start=3, frames=4).tolist() == [[1, 1]] * 4
    with pytest.raises(BadAudioError, match="NaN"):
        reader.read_latents(1, start=3, frames=4)


def test_packed_speech_at_another_speed_equals_that_of_files(whole, small_corpus, tmp_path):
    sources = f"{small_corpus / 'manifest.tsv'},{whole}"
    corpora = manifest.load_all(sources, cache=str(tmp_path), speeds=(1.0, 1.1))
    assert [corpus.speed for corpus in corpora] == [1.0, 1.1, 1.0, 1.1]
    names = [corpora[3].name(row) for row in range(len(corpora[3]))]  # packing changes the order
    row = [corpora[1].name(row) for row in range(len(corpora[1]))].index(names[2])
    of_file = ClipReader(corpora[1], sample_rate=16000).read(row, start=300, samples=5000)
    packed_part = ClipReader(corpora[3], sample_rate=16000).read(2, start=300, samples=5000)
    np.testing.assert_array_equal(packed_part, of_file)


def test_speed_of_latents_cannot_change(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "latents")
    (folder / "latents.json").write_text('{"hop": 320, "channels": 2}')
    with pytest.raises(UserError, match=r"latents, whose speed .*config\.data\.speeds=\(1\.0,\)"):
        manifest.load_all(str(folder), cache=str(tmp_path), speeds=(0.9, 1.0))
