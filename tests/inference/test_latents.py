"""Extracted latents have the batches of encoding in the step; hosts, restarts, bad files."""

import json
import shutil

import jax
import numpy as np
import pytest
import soundfile

from tests.codec.random_codec import random_codec
from uniwav_jax import cli
from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.data import pipeline, plan
from uniwav_jax.errors import UserError
from uniwav_jax.features.batch import surface
from uniwav_jax.inference import latents as latents_lib
from uniwav_jax.types import Batch

CONFIG = SEANetConfig(filters=4, dimension=8, lstm=0)


extract = cli.shortcut("data", "latents")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "codec"
    files.save(folder, CONFIG, random_codec(CONFIG), info={})
    return folder


@pytest.fixture(scope="module")
def corpus(prompts, tmp_path_factory):
    """Real speech in clips of 1.3 to 20 s, two of them longer than the longest window."""
    folder = tmp_path_factory.mktemp("corpus")
    audio = prompts.speech(60 * 16000)
    lines, first = ["path\tsamples\tsample_rate\tspeaker\ttext"], 0
    for number, samples in enumerate((21000, 320000, 64000, 50001, 300777, 80000)):
        soundfile.write(folder / f"{number}.flac", audio[first : first + samples], 16000)
        lines.append(f"{number}.flac\t{samples}\t16000\t{number % 3}\ttext {number}")
        first += samples
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.tsv"


@pytest.fixture(scope="module")
def extracted(corpus, codec, tmp_path_factory):
    out = tmp_path_factory.mktemp("latents") / "whole"
    flags = ["--codec", str(codec), "--out", str(out), "--batch_seconds", "32"]
    assert extract([str(corpus), *flags, "--shard_seconds", "20"]) == 0
    return out


def batches(manifest, codec, cache, count=6):
    """Normalised features and frames of the first batches of a run on `manifest`."""
    values = config_lib.default_config("tiny")
    values.data.update(manifest=str(manifest), batch_seconds=10.0, row_multiple=1, min_seconds=1.0)
    values.data.buckets = (4.0, 5.0)
    values.features.update(kind="codec", codec=str(codec))
    config = config_lib.from_dict(values)
    features = features_lib.build(config.features)
    planned = plan.BatchPlan(config, cache=str(cache))
    features_lib.check_corpora(features, [c.latents for c in planned.corpora])
    rows = {bucket: np.arange(count) for bucket, count in planned.rows.items()}
    loader = pipeline.make_loader(
        config, planned, host_rows=rows, start=0, context=features.context
    )
    params = {**features.weights, "mean": np.full(8, 0.5), "std": np.full(8, 2.0)}
    encoded = jax.jit(lambda batch: surface(batch, params, features))
    for _ in range(count):
        item = next(loader)
        assert not item["problems"]
        latents = item.get("latents")
        yield encoded(Batch(item.get("audio"), item["samples"], item["bad"], latents=latents))
    loader.close()


def test_same_batches_as_from_audio(extracted, corpus, codec, tmp_path):
    pairs = zip(batches(corpus, codec, tmp_path / "a"), batches(extracted, codec, tmp_path / "b"))
    shapes = set()
    for (audio, frames), (latents, same_frames) in pairs:
        np.testing.assert_array_equal(frames, same_frames)
        scale = np.abs(audio).max()
        assert np.abs(np.asarray(audio) - latents).max() < 2e-3 * scale  # float16
        assert np.asarray(audio).std() > 0.05 * scale
        shapes.add(audio.shape)
    assert len(shapes) == 2  # both buckets occur, and long clips are cropped


def test_statistics_and_folder(extracted, codec, corpus, tmp_path):
    described = json.loads((extracted / "latents.json").read_text())
    manifest = (extracted / "manifest.tsv").read_text()
    assert manifest == corpus.read_text()
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(extracted)).as_data_source("train")
    rows = [source[i] for i in range(len(source))]
    assert [row["text"].decode() for row in rows] == [f"text {i}" for i in range(6)]
    total = np.concatenate([row["latents"] for row in rows]).astype(np.float64)
    assert len(total) == sum(-(-n // 320) for n in (21000, 320000, 64000, 50001, 300777, 80000))
    np.testing.assert_allclose(described["mean"], total.mean(0), rtol=1e-6)
    np.testing.assert_allclose(described["std"], total.std(0), rtol=1e-5)


def test_hosts_and_a_restart_write_the_same_files(extracted, corpus, codec, tmp_path, monkeypatch):
    out = tmp_path / "shared"
    flags = [str(corpus), "--codec", str(codec), "--out", str(out), "--batch_seconds", "32"]
    flags += ["--shard_seconds", "20", "--hosts", "2"]
    assert extract([*flags, "--host", "1"]) == 0
    assert not out.exists()

    stopped = []

    def interrupted(self, *arguments):
        if stopped:
            raise KeyboardInterrupt
        stopped.append(1)
        return write(self, *arguments)

    write = latents_lib._Encoder.write
    monkeypatch.setattr(latents_lib._Encoder, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract([*flags, "--host", "0"])
    monkeypatch.setattr(latents_lib._Encoder, "write", write)
    with pytest.raises(UserError, match="begun with other speech"):
        extract([*flags, "--host", "0", "--shard_seconds", "50"])
    assert extract([*flags, "--host", "0"]) == 0
    for path in extracted.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_unreadable_clips_are_left_out(corpus, codec, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus.parent, copy)
    (copy / "2.flac").write_bytes(b"no audio")
    out = tmp_path / "latents"
    assert extract([str(copy / "manifest.tsv"), "--codec", str(codec), "--out", str(out)]) == 0
    assert "2.flac\thas no audio" in (out / "left_out.tsv").read_text()
    assert len((out / "manifest.tsv").read_text().splitlines()) == 1 + 5
    with pytest.raises(UserError, match="exists"):
        extract([str(copy / "manifest.tsv"), "--codec", str(codec), "--out", str(out)])


def test_latents_of_another_codec_are_refused(extracted, codec, tmp_path):
    known = json.loads((extracted / "latents.json").read_text())
    features = features_lib.build(config_lib.FeaturesConfig(kind="codec", codec=str(codec)))
    features_lib.check_corpora(features, [known, known])
    with pytest.raises(UserError, match="cannot be mixed"):
        features_lib.check_corpora(features, [known, {}])
    with pytest.raises(UserError, match="latents of codec 0123"):
        features_lib.check_corpora(features, [{**known, "codec": "0123"}])
    with pytest.raises(UserError, match=r"config\.features has no codec"):
        features_lib.check_corpora(features_lib.build(config_lib.FeaturesConfig()), [known])
