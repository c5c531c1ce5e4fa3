"""An export's files are checked before they are used; tests/export/test_read.py damages more."""

import json

import pytest

from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.export.torch.uniwav_files import ExportError
from uniwav_jax.export.write import write_sums


def folder_of(path, described):
    (path / "config.json").write_text(json.dumps({"uniwav": described}))
    (path / "model.safetensors").write_bytes(b"weights")
    write_sums(path)
    return path


def test_what_was_written_is_read(tmp_path):
    described = {"schema": 3, "task": "asr"}
    folder = folder_of(tmp_path, described)
    uniwav_files.verify(folder)
    assert uniwav_files.read_config(folder) == described
    (tmp_path / "notes.txt").write_text("a user's own file")
    uniwav_files.verify(folder)


def test_older_exports_have_the_alphabet_in_recognition(tmp_path):
    text = {"symbols": ["a"], "units": "letters", "lexicon": "", "lowercase": True}
    older = {"schema": 2, "task": "asr", "asr": {"layers": "mix", **text}}
    found = uniwav_files.read_config(folder_of(tmp_path, older))
    newer = {"schema": 3, "task": "asr", "asr": {"layers": "mix"}, "text": text, "linear": {}}
    assert found == newer
    found = uniwav_files.read_config(folder_of(tmp_path, {"schema": 2, "task": "pretrain"}))
    assert found == {"schema": 3, "task": "pretrain", "linear": {}}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"uniwav": {}}', '{"uniwav": null}'])
def test_a_config_that_says_nothing(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ExportError, match=r"config\.json cannot be read.*export again"):
        uniwav_files.read_config(tmp_path)


def test_a_config_of_another_version(tmp_path):
    with pytest.raises(
        ExportError, match="schema 9, but this version reads 3; export the checkpoint"
    ):
        uniwav_files.read_config(folder_of(tmp_path, {"schema": 9}))


def test_what_does_not_agree_with_the_sums(tmp_path):
    folder = folder_of(tmp_path, {"schema": 3})
    weights, sums = folder / "model.safetensors", folder / "SHA256SUMS"
    weights.write_bytes(b"other weights")
    with pytest.raises(ExportError, match=r"model\.safetensors differs from its checksum"):
        uniwav_files.verify(folder)
    weights.unlink()
    with pytest.raises(ExportError, match=r"model\.safetensors cannot be read"):
        uniwav_files.verify(folder)
    # A list of sums without the weights does not make them right.
    weights.write_bytes(b"weights")
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "model" not in line))
    with pytest.raises(ExportError, match=r"model\.safetensors differs from its checksum"):
        uniwav_files.verify(folder)
    sums.unlink()
    with pytest.raises(ExportError, match="is not an export: SHA256SUMS cannot be read"):
        uniwav_files.verify(folder)
