"""`uniwav export` writes a model or a codec, and rejects the options of the other kind."""

import json

import numpy as np
import pytest

import uniwav_jax
from tests.codec.random_codec import random_codec
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax import config as config_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError
from uniwav_jax.export import dinosr


def test_a_model_becomes_a_folder_for_pytorch(tmp_path, capsys):
    command = ["export", "--checkpoint", make(tmp_path, **SMALL), "--licence", "CC0-1.0"]
    assert cli.main([*command, "--out", str(tmp_path / "out"), "--data", "noise"]) == 0
    assert "checkpoints/7, for PyTorch" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: CC0-1.0" in card and "| training data | noise |" in card
    assert uniwav_jax.load(tmp_path / "out").task == "pretrain"
    with pytest.raises(UserError, match=r"--dtype has no meaning .* is a model"):
        cli.main([*command, "--out", str(tmp_path / "other"), "--dtype", "float32"])


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_a_codec_run_becomes_a_codec_folder(dtype, tmp_path, capsys):
    values = config_lib.default_config("tiny")
    values.task, values.features.kind = "codec", "waveform"
    values.codec.structure.update(filters=4, dimension=8, lstm=0)
    config = config_lib.from_dict(values)
    params = random_codec(config.codec.structure)
    state = {"params": {}, "ema": {"generator": params["network"]}, "state": {}}
    store.save_parts(str(tmp_path / "run"), state, config, step=3)
    command = ["export", "--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "codec")]
    assert cli.main([*command, *(["--dtype", dtype] if dtype else [])]) == 0
    assert f"after 3 updates, {dtype or 'float16'}" in capsys.readouterr().out
    structure, read = files.load(str(tmp_path / "codec"))
    assert structure == config.codec.structure
    for name, layer in params["network"].items():
        if "kernel" in layer:
            exact = layer["kernel"].astype(dtype or "float16").astype(np.float32)
            np.testing.assert_array_equal(read["network"][name]["kernel"], exact)
    document = json.loads((tmp_path / "codec" / "codec.json").read_text())
    assert document["info"] == {"trained_steps": 3, "licence": "not stated"}
    with pytest.raises(UserError, match=r"--encoder has no meaning .* is a codec"):
        cli.main([*command, "--encoder", "student"])


def test_defaults_in_the_help_are_those_of_the_import(capsys):
    with pytest.raises(SystemExit):
        cli.main(["import", "model", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"default: {dinosr.GAIN:g}" in printed
    assert "{" + ",".join(dinosr.NETWORKS) + "}" in printed
