"""The command `uniwav data stats`; the others are tested with the modules that they call."""

import json

import numpy as np

from uniwav_jax import cli


def test_statistics_of_speech(small_corpus, tmp_path, capsys):
    out = tmp_path / "stats.json"
    command = ["data", "stats", str(small_corpus / "manifest.tsv"), "--config", "demo"]
    assert cli.main([*command, "--out", str(out), "--seconds", "5"]) == 0
    document = json.loads(out.read_text())
    assert len(document["mean"]) == len(document["std"]) == 80
    assert np.std(document["mean"]) > 0.1 and min(document["std"]) > 0
    assert f"--config.features.stats={out}" in capsys.readouterr().out
