"""Processes that differ all stop with an error that names the difference, before compilation."""

import json
import shutil

import jax
import numpy as np
import pytest

from tests.parallel.conftest import REPOSITORY
from uniwav_jax.config import Config, MeshConfig
from uniwav_jax.errors import LostProcessError, UserError
from uniwav_jax.parallel.mesh import host_rows, make_mesh
from uniwav_jax.train import self_check


def check(folder, corpus, *settings):
    return " ".join([f"check:{folder}", f"config.data.manifest={corpus}/manifest.tsv", *settings])


def copy(corpus, folder):
    shutil.copytree(corpus, folder)
    return folder


def test_same_data_at_another_path(drill, small_corpus, tmp_path):
    same = copy(small_corpus, tmp_path / "same")
    drill.start([check(tmp_path, small_corpus)], [check(tmp_path, same)], limit=60)
    (status, output), (other, _) = drill.ends()
    assert status == other == 0, output
    lines = [line for line in output.splitlines() if line.startswith("process ")]
    assert len(lines) == 2 and "2 x cpu, rows 0-3 of 8" in lines[0], lines
    assert "self-check: 2 processes agree, an all-reduce took" in output
    table = json.loads((tmp_path / "processes.json").read_text())
    assert [process["rows"]["32000"] for process in table] == [[[0, 3]], [[4, 7]]]


@pytest.mark.parametrize(
    "setting, words",
    [
        ("config.optim.lr=1", "config.optim.lr is 1.0, not 0.0005"),
        ("config.mesh.fsdp=2", "config.mesh.fsdp is 2, not 1"),
    ],
)
def test_other_config(drill, small_corpus, tmp_path, setting, words):
    usual = check(tmp_path, small_corpus)
    drill.start([usual], [f"{usual} {setting}"], limit=60)
    for status, error in drill.ends():
        assert status == 2 and "error: process 1 (" in error and words in error, error
        assert "as in process 0 (" in error


def test_other_data(drill, small_corpus, tmp_path):
    manifest = copy(small_corpus, tmp_path / "other") / "manifest.tsv"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    drill.start([check(tmp_path, small_corpus)], [check(tmp_path, manifest.parent)], limit=60)
    for status, error in drill.ends():
        assert status == 2 and "error: process 1 (" in error, error
        assert "the content of config.data.manifest is" in error


def test_other_code(drill, small_corpus, tmp_path):
    for name in ("uniwav_jax", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / "copy" / name, ignore=ignored)
    with (tmp_path / "copy" / "uniwav_jax" / "types.py").open("a") as file:
        file.write("# a line more\n")
    job = [check(tmp_path, small_corpus)]
    drill.start(job, job, limit=60, folders=(REPOSITORY, tmp_path / "copy"))
    for status, error in drill.ends():
        assert status == 2 and "error: process 1 (" in error and "code is" in error, error


def test_folder_that_is_not_shared(drill, small_corpus, tmp_path):
    drill.start(
        [check(tmp_path / "a", small_corpus)], [check(tmp_path / "b", small_corpus)], limit=60
    )
    for status, error in drill.ends():
        assert status == 2 and "does not find" in error and "--workdir" in error, error


@pytest.mark.parametrize("mesh", [MeshConfig(), MeshConfig(fsdp=2, tensor=2)])
def test_all_reduce(mesh):
    assert 0 < self_check.all_reduce(make_mesh(mesh)) < 60


def test_wrong_sum_is_an_error(monkeypatch):
    monkeypatch.setattr(self_check.jnp, "sum", lambda x: x[0] + x[1])
    with pytest.raises(LostProcessError, match=r"over 8 devices is 3 on .*0, not 36"):
        self_check.all_reduce(make_mesh(MeshConfig()))


def test_processes_that_differ_are_found():
    assert self_check.split(["a"] * 3) == ([], [0, 1, 2])
    assert self_check.split(["a", "b", "b"]) == ([0], [1, 2])
    assert self_check.split(["a", "b"]) == ([1], [0])
    assert self_check.split(["a", "b", "c", "b"]) == ([0, 2], [1, 3])


def test_rows_without_a_process_are_an_error():
    everyone = [{"100": [[0, 3]]}, {"100": [[6, 7]]}]
    with pytest.raises(UserError, match="no process loads rows 4-5 of the 8"):
        self_check.check_cover(everyone, {100: 8})
    self_check.check_cover([*everyone, {"100": [[2, 5]]}], {100: 8})


def test_ranges_are_those_of_host_rows():
    for mesh in (MeshConfig(), MeshConfig(data=2, fsdp=2, tensor=2)):
        rows = host_rows(make_mesh(mesh), 16)
        assert self_check._ranges(rows) == [[0, 15]]
    assert self_check._ranges(np.array([0, 1, 4, 6, 7])) == [[0, 1], [4, 4], [6, 7]]


def test_table_of_many_is_short():
    alike = {"devices": "8 x TPU v5e", "jax": "0", "code": "c", "config": "d"}
    process = {"host": "h", "rows": {"100": [[0, 3]]}, "alike": alike}
    lines = self_check.table([process] * 500, {100: 2000})
    assert len(lines) == 17 and lines[-2] == "(484 more)" and lines[-1].startswith("process 499: ")
    assert len(self_check.table([process] * 16, {100: 64})) == 16


def test_paths_may_differ_but_their_content_may_not():
    names = self_check.fields(Config())
    assert "config.train.steps" in names and "config.data.buckets" in names
    assert not {f"config.{path}" for path in self_check.PATHS} & set(names)
    assert jax.process_count() == 1
