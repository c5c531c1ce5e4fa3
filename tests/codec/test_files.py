"""Codec folders: what is written is read; damage and foreign files are named."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.codec.random_codec import random_codec
from uniwav_jax import cli
from uniwav_jax.codec import files, importers
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError

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


def test_nothing_half_written(params, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        files.save(tmp_path / "codec", CONFIG, params, info={})
    assert not list(tmp_path.iterdir())


def test_damage_is_named(folder, params, tmp_path):
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
    with pytest.raises(UserError, match="has, and should not, the tensor extra"):
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


def as_encodec(params, config):
    """The inverse of the importer for codecs without LSTM, with plain weights."""
    state = {}
    for name, layer in params["network"].items():
        part, index = name.split("_")
        for inner, leaf in layer.items() if "kernel" not in layer else ((None, layer),):
            middle = {None: "", "shortcut": ".shortcut"}.get(inner)
            middle = f".block.{inner[6:]}" if middle is None else middle
            up = part == "decoder" and inner is None and leaf["kernel"].shape[0] % 2 == 0
            spelling = "convtr.convtr" if up else "conv.conv"
            key = f"{part}.model.{index}{middle}.{spelling}"
            state[f"{key}.weight"] = leaf["kernel"].transpose((1, 2, 0) if up else (2, 1, 0))
            state[f"{key}.bias"] = leaf["bias"]
    for stage, book in enumerate(params["codebooks"]):
        key = f"quantizer.vq.layers.{stage}._codebook"
        state[f"{key}.embed"], state[f"{key}.cluster_size"] = book, np.zeros(len(book))
    return {key: np.ascontiguousarray(value) for key, value in state.items()}


@pytest.fixture(scope="module")
def source():
    """A state dict in EnCodec's spelling, and what it stands for."""
    config = SEANetConfig(
        filters=4, dimension=6, lstm=0, ratios=(5, 2), residual_layers=2, codebooks=2, codewords=8
    )
    params = random_codec(config)
    return config, params, as_encodec(params, config)


TOLD = {"sample_rate": 16000, "causal": False, "padding": "reflect"}


def test_import_reads_structure_from_shapes(source):
    config, params, state = source
    read, imported = importers.convert(state, TOLD)
    assert read == config
    equal(imported, params)


def test_import_is_complete_in_both_directions(source):
    _, _, state = source
    for key in state:
        if "cluster_size" in key:
            continue
        short = {k: v for k, v in state.items() if k != key}
        with pytest.raises(UserError):
            importers.convert(short, TOLD)
        longer = np.concatenate([state[key], state[key]])
        with pytest.raises(UserError):
            importers.convert({**state, key: longer}, TOLD)
    with pytest.raises(UserError, match=r"encoder\.model\.0\.conv\.norm\.weight has no place"):
        importers.convert({**state, "encoder.model.0.conv.norm.weight": np.zeros(4)}, TOLD)
    key = "decoder.model.2.convtr.convtr.bias"
    with pytest.raises(UserError, match=r"tensor decoder\.layers\.2\.conv\.bias .* is missing"):
        importers.convert({k: v for k, v in state.items() if k != key}, TOLD)
    with pytest.raises(UserError, match=r"tensor decoder\.model\.2\.convtr\.convtr\.bias is"):
        importers.convert({**state, key: np.zeros(3)}, TOLD)
    with pytest.raises(UserError, match=r"filters=32.*shapes say 4"):
        importers.convert(state, {**TOLD, "filters": 32})
    with pytest.raises(UserError, match="no SEANet encoder"):
        importers.convert({"weight": np.zeros(3)}, TOLD)
    with pytest.raises(UserError, match="colour is no field"):
        importers.convert(state, {**TOLD, "colour": 1})
    stereo = {**state, "encoder.model.0.conv.conv.weight": np.zeros((4, 2, 7))}
    with pytest.raises(UserError, match="2 audio channels"):
        importers.convert(stereo, TOLD)


def test_import(source, tmp_path, capsys):
    import_codec = cli.shortcut("import", "codec")
    config, params, state = source
    file = tmp_path / "encodec.safetensors"
    safetensors.numpy.save_file(state, file)
    flags = ["--set", "causal=false", "--set", "sample_rate=16000", "--set", "padding=reflect"]
    assert import_codec([str(file), "--out", str(tmp_path / "out"), *flags]) == 0
    read, imported = files.load(tmp_path / "out")
    assert read == config
    equal(imported, params)
    assert "1600 frames/s of 6 numbers" in capsys.readouterr().out
    for path, message in (
        (tmp_path / "absent.th", "does not exist"),
        (tmp_path, r"config\.json cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            import_codec([str(path), "--out", str(tmp_path / "other")])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        import_codec([str(file), "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
