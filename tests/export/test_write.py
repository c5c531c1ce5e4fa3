"""What an export's folder contains, and exports that cannot be made."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from tests.export.conftest import make_codec_run
from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError
from uniwav_jax.export import write
from uniwav_jax.export.torch import uniwav_files


def test_a_folder_has_the_code_and_names_nothing_of_this_machine(exported):
    folder = exported("pretrain") / "export"
    # Other tests run the code of this folder, which leaves __pycache__.
    files = {path.name: path for path in folder.iterdir() if path.name != "__pycache__"}
    code = {path.name for path in write.TORCH.glob("*.py")}
    documents = {"README.md", "SHA256SUMS", "config.json", "preprocessor_config.json"}
    assert files.keys() == code | documents | {"model.safetensors"}
    document = json.loads(files["config.json"].read_text())
    described = document["uniwav"]
    assert (described["schema"], described["step"]) == (uniwav_files.SCHEMA, 7)
    assert described["task"] == "pretrain" and described["linear"] == {}
    assert described["parts"] == ["condition", "decoder", "encoder", "features", "heads"]
    assert described["weights"] == {"encoder": "student", "decoder": "average"}
    assert (document["hidden_size"], document["num_hidden_layers"]) == (160, 4)
    for name in documents:
        assert str(exported("pretrain")) not in files[name].read_text()


def test_a_recogniser_has_its_alphabet_for_transformers(exported):
    folder = exported("asr") / "export"
    document, vocabulary, tokenizer, preprocessor = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("config", "vocab", "tokenizer_config", "preprocessor_config")
    )
    symbols = document["uniwav"]["text"]["symbols"]
    assert document["vocab_size"] == len(symbols) + 1 and "decoder" not in document["uniwav"]
    assert sorted(vocabulary.values()) == list(range(len(symbols) + 1))
    for number, symbol in enumerate(symbols, start=1):
        assert vocabulary[symbol] == number
    assert tokenizer["pad_token"] in vocabulary and preprocessor["sampling_rate"] == 16000
    # What the task adds lies beside what every export has.
    assert document["auto_map"].keys() > {"AutoConfig", "AutoModel"}


def test_sums_are_those_of_sha256sum(tmp_path):
    (tmp_path / "b").write_bytes(b"second")
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "folder").mkdir()
    for _ in range(2):  # its own file is not among them
        write.write_sums(tmp_path)
    sums = [hashlib.sha256(content).hexdigest() for content in (b"first", b"second")]
    assert (tmp_path / "SHA256SUMS").read_text() == f"{sums[0]}  a\n{sums[1]}  b\n"


def test_heads_of_one_linear_layer():
    layer = {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)}
    params = {"encoder": {"project": layer}, "ctc": layer, "heads": layer, "loudness": layer}
    assert write.linear_heads(params) == {"loudness": [4, 2]}


def test_the_trained_decoder_or_its_average(exported):
    checkpoint = reader.open(exported("pretrain") / "run")
    arrays = checkpoint.arrays("params", "ema")
    for decoder, place in (("trained", "params"), ("average", "ema")):
        params = write.read(checkpoint, encoder="student", decoder=decoder)
        np.testing.assert_array_equal(
            params["decoder"]["norm_scale"], arrays[place]["decoder"]["norm_scale"]
        )
    tensors = safetensors.numpy.load_file(exported("pretrain") / "export" / uniwav_files.WEIGHTS)
    np.testing.assert_array_equal(
        tensors["decoder.norm_scale"], arrays["ema"]["decoder"]["norm_scale"]
    )
    assert (tensors["decoder.norm_scale"] != arrays["params"]["decoder"]["norm_scale"]).any()


def test_exports_that_cannot_be_made(exported, tmp_path):
    path = str(exported("asr") / "run")
    with pytest.raises(UserError, match="no teacher"):
        write.export(path, str(tmp_path / "export"), encoder="teacher")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists; give a new folder"):
        write.export(path, str(tmp_path / "there"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there"]
    with pytest.raises(UserError, match="does not exist"):
        write.export(str(tmp_path / "nothing"), str(tmp_path / "export"))
    run, _, _ = make_codec_run(tmp_path)
    with pytest.raises(UserError, match="task codec, which has no PyTorch model"):
        write.export(run, str(tmp_path / "export"))
