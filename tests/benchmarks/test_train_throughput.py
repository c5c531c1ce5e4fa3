"""The benchmark runs and writes its figures; the pod table contains those of its reports."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, load_tool


def test_a_short_run(tmp_path):
    for peer in ("torch", "spidr", "transformers"):
        pytest.importorskip(peer, reason="the peer; see tests/requirements-oracles.txt")
    out = tmp_path / "result.json"
    short = "--sizes 4x256 --parts features --seconds 2 --rows 1 --repeats 2 --no-compile"
    command = [sys.executable, "benchmarks/train_throughput.py", *short.split(), "--out", out]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
    table = json.loads(out.read_text())["features 4x256"]
    assert table["ours"] > 0.1 and table["torch"] > 0.1
    assert table["ratio_low"] <= table["ratio"] <= table["ratio_high"]
    for side in ("ours", "torch"):
        assert 1e8 < table[f"{side}_peak_bytes"] < 1e10
    # 4 layers of width 256 cost 0.1 to 10 GFLOPs per second of audio.
    assert 1e8 < table["ours_flops"] / table["ours"] < 1e10


def test_pod_table_contains_its_reports():
    pod_table = load_tool("pod_table", "benchmarks")
    folder = REPOSITORY / "benchmarks" / "results" / "pods"
    assert len(list(folder.glob("*.json"))) >= 5
    assert (folder / "README.md").read_text() == pod_table.table(folder)
