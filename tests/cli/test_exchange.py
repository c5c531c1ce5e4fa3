"""`uniwav export` writes a model or a codec, and rejects the options of the other kind."""

import json

import pytest

import uniwav_jax
from tests.export.conftest import make, make_codec_run
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
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


def test_weights_alone(tmp_path, capsys):
    command = ["export", "--checkpoint", make(tmp_path, **SMALL), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--weights"]) == 0
    assert "bytes, for uniwav_jax.load" in capsys.readouterr().out
    assert uniwav_jax.load(tmp_path / "out").step == 7


def test_a_codec_run_becomes_a_codec_folder(tmp_path, capsys):
    codec_run, _, _ = make_codec_run(tmp_path)
    command = ["export", "--checkpoint", codec_run, "--out", str(tmp_path / "codec")]
    assert cli.main([*command, "--dtype", "float32", "--licence", "CC0-1.0"]) == 0
    assert "after 3 updates, float32" in capsys.readouterr().out
    document = json.loads((tmp_path / "codec" / "codec.json").read_text())
    assert document["info"] == {"trained_steps": 3, "licence": "CC0-1.0"}
    assert isinstance(files.load(str(tmp_path / "codec"))[0], SEANetConfig)
    with pytest.raises(UserError, match=r"--encoder has no meaning .* is a codec"):
        cli.main([*command, "--encoder", "student"])


def test_defaults_in_the_help_are_those_of_the_import(capsys):
    with pytest.raises(SystemExit):
        cli.main(["import", "model", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"default: {dinosr.GAIN:g}" in printed
    assert "{" + ",".join(dinosr.NETWORKS) + "}" in printed
