"""The command `uniwav data stats`; the others are tested with the modules that they call."""

import json

import numpy as np
import soundfile

from uniwav_jax import cli


def test_statistics_of_speech(small_corpus, tmp_path, capsys):
    out = tmp_path / "stats.json"
    command = ["data", "stats", str(small_corpus / "manifest.tsv"), "--config", "demo"]
    assert cli.main([*command, "--out", str(out), "--seconds", "5"]) == 0
    document = json.loads(out.read_text())
    assert len(document["mean"]) == len(document["std"]) == 128
    assert np.std(document["mean"]) > 0.1 and min(document["std"]) > 0
    assert f"--config.features.stats={out}" in capsys.readouterr().out
    # A clip with NaN is named and left out; what an earlier call listed is forgotten.
    wave = np.full(32000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", wave, 16000, subtype="FLOAT")
    header, *rows = (small_corpus / "manifest.tsv").read_text().splitlines()
    rows = [f"{small_corpus}/{row}" for row in rows]
    (tmp_path / "m.tsv").write_text("\n".join([header, *rows, "nan.wav\t32000\t16000\t\t"]) + "\n")
    listed = tmp_path / "stats.json.bad_files.tsv"
    listed.write_text("clip\treason\nold.wav\tdoes not exist\n")
    command[2] = str(tmp_path / "m.tsv")
    assert cli.main([*command, "--out", str(out), "--seconds", "1000"]) == 1
    errors = capsys.readouterr().err
    assert "nan.wav: has NaN or infinite samples" in errors and "old.wav" not in errors
    assert "nan.wav" in listed.read_text()
