"""An export is imported again bit for bit; folders that are not exports are rejected."""

import json
import random
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.export.conftest import SPEECH, make
from uniwav_jax import cli
from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError
from uniwav_jax.export import read, write
from uniwav_jax.export.torch import uniwav_files


@pytest.mark.parametrize(
    "model",
    [{}, {"codec": "seanet"}, {"task": "asr", "asr__layers": "mix"}, SPEECH],
    ids=str,
)
def test_round_trip_is_exact_to_the_bit(model, tmp_path, monkeypatch):
    path = make(tmp_path, **model)
    write.export(path, str(tmp_path / "export"))
    monkeypatch.chdir(tmp_path)  # to test relative paths
    assert cli.main(["import", "model", "export", "--out", "b"]) == 0
    first, second = reader.open(path), reader.open(tmp_path / "b")
    there, back = (run.arrays("params", "ema", "frozen") for run in (first, second))
    if "decoder" in there["params"]:  # the export has the running average only
        there["params"] |= there["ema"]
    ours, theirs = (jax.tree_util.tree_leaves_with_path(tree) for tree in (there, back))
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    for (path, array), (_, other) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(array, other, err_msg=str(path))
    assert first.step == second.step == 7
    # A second export has the same bytes as the first.
    write.export(str(tmp_path / "b"), str(tmp_path / "twice"))
    first, second = (
        (tmp_path / name / uniwav_files.WEIGHTS).read_bytes() for name in ("export", "twice")
    )
    assert first == second
    with pytest.raises(UserError, match=r"has checkpoints|exists"):
        read.to_checkpoint(str(tmp_path / "export"), str(tmp_path / "b"))


def test_an_exported_teacher_comes_back_with_its_codebooks(exported, tmp_path):
    path = str(exported("pretrain") / "run")
    write.export(path, str(tmp_path / "export"), encoder="teacher")
    read.to_checkpoint(str(tmp_path / "export"), str(tmp_path / "back"))
    there, back = (
        reader.open(run).arrays("params", "ema", "state") for run in (path, tmp_path / "back")
    )
    jax.tree.map(np.testing.assert_array_equal, back["state"], there["state"])
    encoder = back["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, encoder, there["state"]["teacher"])
    assert set(back["params"]) == {"encoder"} and not back["ema"]  # no heads, no decoder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    cut = {"model__encoder__layers": 1, "model__encoder__width": 32, "model__encoder__ffn": 32}
    write.export(make(folder, distillation__top_layers=1, **cut), str(folder / "export"))
    return folder / "export"


def refused(folder) -> None:
    """Check that both readers reject a folder, with a message that names it or its file."""
    with pytest.raises(UserError, match=str(folder)):
        read.load(str(folder))
    torch_side = pytest.importorskip("uniwav_jax.export.torch.uniwav_model", reason="needs torch")
    with pytest.raises(uniwav_files.ExportError, match=str(folder)):
        torch_side.load(str(folder))


def test_200_damaged_exports_are_refused(small, tmp_path):
    """Bits are flipped, ends cut off, bytes overwritten with noise, or files deleted."""
    dice = random.Random(0)
    files = [uniwav_files.CONFIG, uniwav_files.WEIGHTS, uniwav_files.SUMS]
    for number in range(200):
        folder = tmp_path / "damaged"
        shutil.copytree(small, folder)
        file = folder / files[number % 3]
        content = bytearray(file.read_bytes())
        kind = ("bit", "cut", "noise", "gone")[number // 3 % 4]
        if kind == "bit":
            content[dice.randrange(min(len(content), 4000))] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del content[dice.randrange(len(content)) :]
        elif kind == "noise":
            first = dice.randrange(len(content))
            content[first : first + 64] = dice.randbytes(64)
        file.write_bytes(content)
        if kind == "gone":
            file.unlink()
        refused(folder)
        shutil.rmtree(folder)


def test_malicious_exports_with_correct_checksums_are_refused(small, tmp_path):
    weights = small / uniwav_files.WEIGHTS
    tensors = safetensors.numpy.load_file(weights)
    some = "encoder.project.weight"
    content = weights.read_bytes()
    header = int.from_bytes(content[:8], "little")

    def saved(changed):
        return safetensors.numpy.save(changed)

    def with_header(edit):
        text = edit(json.loads(content[8 : 8 + header]))
        return len(text).to_bytes(8, "little") + text + content[8 + header :]

    def end_beyond(document):
        document[some]["data_offsets"][1] += 10**9
        return json.dumps(document).encode()

    malicious = {
        "a tensor less": saved({k: v for k, v in tensors.items() if k != some}),
        "a tensor more": saved({**tensors, "encoder.extra": np.zeros(3, np.float32)}),
        "another shape": saved({**tensors, some: np.zeros((3, 5), np.float32)}),
        "integers": saved({**tensors, some: tensors[some].astype(np.int32)}),
        "a header of 2^60 bytes": (2**60).to_bytes(8, "little") + content[8:],
        "a header that ends beyond the file": with_header(end_beyond),
        "a header that is no JSON": with_header(lambda document: b"{" * 100),
        "a pickle": b"cos\nsystem\n(S'touch /tmp/uniwav_was_run'\ntR.",
    }
    for name, damaged in malicious.items():
        folder = tmp_path / name.replace(" ", "_").replace("^", "")
        shutil.copytree(small, folder)
        (folder / uniwav_files.WEIGHTS).write_bytes(damaged)
        write.write_sums(folder)  # an attacker can write correct checksums
        refused(folder)

    document = json.loads((small / uniwav_files.CONFIG).read_text())
    for number, (path, value) in enumerate(
        [
            (("schema",), 1),
            (("encoder", "layers"), 2),
            (("encoder", "width"), -1),
            (("encoder", "heads"), "many"),
            (("encoder", "norm"), "none"),
            (("decoder", "positions"), "none at all"),
            (("encoder",), None),
            (("features", "kind"), "pickle"),
            (("features", "channels"), 10**9),
            (("parts",), 3),
        ]
    ):
        changed = json.loads(json.dumps(document))
        *outer, last = path
        node = changed["uniwav"]
        for key in outer:
            node = node[key]
        node[last] = value
        folder = tmp_path / f"config_{number}"
        shutil.copytree(small, folder)
        (folder / uniwav_files.CONFIG).write_text(json.dumps(changed))
        write.write_sums(folder)  # an attacker can write correct checksums
        refused(folder)
