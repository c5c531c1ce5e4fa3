"""Codec folders are read as they were written; errors name damaged and wrong files."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.codec.random_codec import random_codec
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError
from uniwav_jax.measures import signal

CONFIG = SEANetConfig(filters=2, dimension=4, codebooks=2, codewords=8)


@pytest.fixture(scope="module")
def params():
    return random_codec(CONFIG)


@pytest.fixture
def folder(params, tmp_path):
    files.save(tmp_path / "codec", CONFIG, params, info={"licence": "none"})
    return tmp_path / "codec"


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(folder, params, tmp_path):
    config, read = files.load(folder)
    assert config == CONFIG
    equal(read, params)
    Codec(config).apply({"params": read["network"]}, np.zeros((1, 640), np.float32))
    with pytest.raises(UserError, match="exists"):
        files.save(folder, CONFIG, params, info={})
    files.save(tmp_path / "half", CONFIG, params, info={}, dtype="float16")
    config, read = files.load(tmp_path / "half")
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), params)
    equal(read, half)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codec", "half"]


def test_a_failed_write_leaves_no_file(params, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        files.save(tmp_path / "codec", CONFIG, params, info={})
    assert not list(tmp_path.iterdir())


def test_errors_name_what_is_damaged(folder, params, tmp_path):
    with pytest.raises(UserError, match=r"absent.codec\.json does not exist"):
        files.load(tmp_path / "absent")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    tensors = safetensors.numpy.load_file(weights)
    for name in ("network.encoder_0.kernel", "codebooks"):
        safetensors.numpy.save_file({k: v for k, v in tensors.items() if k != name}, weights)
        with pytest.raises(UserError, match=f"lacks the tensor {name}"):
            files.load(folder)
        safetensors.numpy.save_file({**tensors, name: tensors[name][..., :1]}, weights)
        with pytest.raises(UserError, match=rf"{name} is \(.*expected"):
            files.load(folder)
    safetensors.numpy.save_file({**tensors, "extra": np.zeros(2)}, weights)
    with pytest.raises(UserError, match="has, but should not have, the tensor extra"):
        files.load(folder)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        files.load(folder)
    weights.write_bytes(whole)
    description = json.loads((folder / "codec.json").read_text())
    for change, message in (
        ({"schema": 9}, "schema 9"),
        ({"structure": "opus"}, "'opus'"),
        ({"config": {"filter": 2}}, "filter"),
        ({"config": {"filters": 0}}, "filters must be positive"),
    ):
        (folder / "codec.json").write_text(json.dumps({**description, **change}))
        with pytest.raises(UserError, match=message):
            files.load(folder)
    (folder / "codec.json").write_text("{")
    with pytest.raises(UserError, match=r"codec\.json is damaged"):
        files.load(folder)


def test_the_installed_codec_keeps_speech_and_bears_noise(clip):
    config, params = files.load("codec")
    assert files.find("codec") == files.INSTALLED / "codec" and len(files.digest("codec")) == 16
    size = sum(path.stat().st_size for path in files.find("codec").iterdir())
    assert size <= 10e6 and (config.sample_rate, config.hop) == (16000, 320)
    apply = jax.jit(Codec(config).apply, static_argnames="method")
    variables = {"params": params["network"]}
    z = np.asarray(apply(variables, clip[None], method="encode"))
    noise = 0.3 * z.std((0, 1)) * np.random.default_rng(0).normal(size=z.shape)
    clean, noisy = (
        np.asarray(apply(variables, latents, method="decode"))[0, : len(clip)]
        for latents in (z, (z + noise).astype(np.float32))
    )
    scores = [signal.scores(clip, wave, sample_rate=16000) for wave in (clean, noisy)]
    assert scores[0]["mel_distance"] < 0.25 and scores[1]["mel_distance"] < 0.5
    if "pesq_wb" in scores[0]:
        assert scores[0]["pesq_wb"] > 3.5 and scores[1]["pesq_wb"] > 2.3
    if "stoi" in scores[0]:
        assert scores[0]["stoi"] > 0.965 and scores[1]["stoi"] > 0.9


def test_a_folder_of_an_installed_codecs_name_comes_first(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.save("codec", CONFIG, params, info={})
    assert files.load("codec")[0] == CONFIG
