"""The compile report for a TPU slice."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, load_tool
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError

report = load_tool("compile_report")


@pytest.mark.parametrize("most", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("shape", [lambda n: 0.0, lambda n: 2.0, lambda n: 2 + 0.02 * n])
def test_largest_batch_fits_and_is_within_an_eighth(monkeypatch, most, shape):
    """`shape` is the memory in addition to a part in proportion to the rows."""
    tries = []

    def step_of(config, rows, chips):
        tries.append(rows)
        peak = 1 + rows / 4 + shape(rows)  # four chips
        hbm = 1 + most + shape(4 * most)
        return {
            "fits": peak <= hbm,
            "problem": "too large",
            "peak_bytes_per_chip": peak,
            "state_bytes_per_chip": 1.0,
        }

    monkeypatch.setattr(report, "step_of", step_of)
    monkeypatch.setattr(report.mesh_lib, "make_mesh", lambda *_: None)
    monkeypatch.setattr(report.mesh_lib, "row_shards", lambda _: 4)
    rows = report.largest(Config(), (), 1 + most + shape(4 * most))
    assert 4 * most / 1.13 <= rows <= 4 * most
    assert rows in tries
    assert len(tries) <= 6


def test_one_row_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(report, "step_of", lambda *_: {"fits": False, "problem": "by 3G"})
    monkeypatch.setattr(report.mesh_lib, "make_mesh", lambda *_: None)
    monkeypatch.setattr(report.mesh_lib, "row_shards", lambda _: 4)
    with pytest.raises(UserError, match=r"one row per chip does not fit; raise mesh\.fsdp"):
        report.largest(Config(), (), 1.0)


@pytest.mark.parametrize("text", ["v5e", "v9:2x2", "v5e:2", "v5e:2x2,slices", "H100:2x2"])
def test_invalid_topologies_are_errors(text):
    with pytest.raises(UserError, match=r"CHIP:AxB"):
        report.parse_topology(text)
    assert report.parse_topology("v5p:4x4x8,slices=2") == ("v5p", "4x4x8", 2)


def test_compiles_a_step(tmp_path):
    """The real compiler compiles a small step for four chips, pairs of which share weights."""
    pytest.importorskip("libtpu", reason="needs the extra tpu: the compiler, no TPU")
    command = [sys.executable, REPOSITORY / "tools" / "compile_report.py"]
    command += [
        f"--config={REPOSITORY}/configs/demo.py",
        "--topology=v5e:2x2",
        "--config.mesh.fsdp=2",
    ]
    command += ["--config.model.encoder.layers=1", "--config.model.decoder.layers=2"]
    command += ["--config.distillation.top_layers=1", f"--out={tmp_path}/report.json"]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    assert "4 chips, mesh {'data': 2, 'fsdp': 2, 'tensor': 1}" in done.stdout
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["fits"]
    assert found["peak_bytes_per_chip"] > found["state_bytes_per_chip"] > 2**20
    assert found["executed_flops_per_chip"] > found["model_flops_per_chip"] > 1e9
    assert found["collectives_per_chip"]["all-reduce"]["bytes"] > 1e5
    assert 0 < found["bounds"]["mfu_bound"] < 1
    features = found["features"]
    assert 0 < features["flops_per_chip"] < found["executed_flops_per_chip"]
    assert 0 < features["hbm_traffic_bytes_per_chip"] < found["hbm_traffic_bytes_per_chip"]
    assert found["estimated_cycles"]["features"] > 0 and "\nfeatures: " in done.stdout
    assert found["estimated_cycles"]["encoder backward: feed forward"] > 0
