"""EnCodec's weights are imported by name; missing and unexpected tensors are errors."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.codec.random_codec import random_codec
from tests.conftest import load_tool
from uniwav_jax.codec import files, importers
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


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
    """A configuration, parameters, and the same parameters as a state dict with EnCodec's names."""
    config = SEANetConfig(
        filters=4, dimension=6, lstm=0, ratios=(5, 2), residual_layers=2, codebooks=2, codewords=8
    )
    params = random_codec(config)
    return config, params, as_encodec(params, config)


SET = {"sample_rate": 16000, "causal": False, "padding": "reflect"}


def test_import_reads_structure_from_shapes(source):
    config, params, state = source
    read, imported = importers.convert(state, SET)
    assert read == config
    equal(imported, params)


def test_every_tensor_is_needed_and_no_other_is_accepted(source):
    _, _, state = source
    for key in state:
        if "cluster_size" in key:
            continue
        short = {k: v for k, v in state.items() if k != key}
        with pytest.raises(UserError):
            importers.convert(short, SET)
        longer = np.concatenate([state[key], state[key]])
        with pytest.raises(UserError):
            importers.convert({**state, key: longer}, SET)
    with pytest.raises(UserError, match=r"encoder\.model\.0\.conv\.norm\.weight does not belong"):
        importers.convert({**state, "encoder.model.0.conv.norm.weight": np.zeros(4)}, SET)
    key = "decoder.model.2.convtr.convtr.bias"
    with pytest.raises(UserError, match=r"tensor decoder\.layers\.2\.conv\.bias .* is missing"):
        importers.convert({k: v for k, v in state.items() if k != key}, SET)
    with pytest.raises(UserError, match=r"tensor decoder\.model\.2\.convtr\.convtr\.bias is"):
        importers.convert({**state, key: np.zeros(3)}, SET)
    with pytest.raises(UserError, match=r"filters=32.*shapes mean 4"):
        importers.convert(state, {**SET, "filters": 32})
    with pytest.raises(UserError, match="no SEANet encoder"):
        importers.convert({"weight": np.zeros(3)}, SET)
    with pytest.raises(UserError, match="colour is not a field"):
        importers.convert(state, {**SET, "colour": 1})
    stereo = {**state, "encoder.model.0.conv.conv.weight": np.zeros((4, 2, 7))}
    with pytest.raises(UserError, match="2 audio channels"):
        importers.convert(stereo, SET)


@pytest.fixture(scope="module")
def tool():
    return load_tool("import_codec")


def test_import_tool(tool, source, tmp_path, capsys):
    config, params, state = source
    file = tmp_path / "encodec.safetensors"
    safetensors.numpy.save_file(state, file)
    flags = ["--set", "causal=false", "--set", "sample_rate=16000", "--set", "padding=reflect"]
    assert tool.main([str(file), "--out", str(tmp_path / "out"), *flags]) == 0
    read, imported = files.load(tmp_path / "out")
    assert read == config
    equal(imported, params)
    assert "1600 frames/s of 6 numbers" in capsys.readouterr().out
    for path, message in (
        (tmp_path / "absent.th", "does not exist"),
        (tmp_path, r"config\.json cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            tool.main([str(path), "--out", str(tmp_path / "other")])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        tool.main([str(file), "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
