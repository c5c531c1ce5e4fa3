import json
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY, load_tool

ROWS = 5000


@pytest.fixture(scope="module")
def result(small_corpus, tmp_path_factory):
    """The benchmark on 36 s of speech, with windows of a tenth of a second."""
    pytest.importorskip("torch", reason="the peer; see tests/requirements-oracles.txt")
    out = tmp_path_factory.mktemp("benchmark") / "result.json"
    short = "--cases flac,opus,array_record --workers 0 --batch_seconds 160 --seconds 0.1"
    short += f" --repeats 2 --memory_rows {ROWS} --plan_rows 1000"
    command = [sys.executable, "benchmarks/input_pipeline.py", "--speech", small_corpus]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [*command, *short.split(), "--out", out], cwd=REPOSITORY, env=environment, check=True
    )
    return json.loads(out.read_text())


def test_all_figures_are_present(result):
    assert [row["case"] for row in result["speed"]] == ["flac", "opus", "array_record"]
    for row in result["speed"]:
        for unit in ("wall", "cpu"):
            figures = row[unit]
            assert figures["ours"] > 10 and figures["theirs"] > 10
            assert figures["ratio_low"] <= figures["ratio"] <= figures["ratio_high"]
    assert result["best"]["flac"]["cpu"]["ours"] == result["speed"][0]["cpu"]["ours"]
    assert result["plan"]["later_starts"]["seconds"] < 60
    assert {"cpu", "cores", "command", "commit", "versions", "speech_hours"} <= set(result)


def test_memory_does_not_grow_with_the_rows(result):
    """Half of the rows are 24 MB of audio; the growth is noise of the allocator."""
    assert [row["form"] for row in result["memory"]] == ["files", "array_record"]
    for row in result["memory"]:
        assert row["rows"] >= ROWS
        assert row["private_mb"]["100%"] - row["private_mb"]["50%"] < 10, row


def test_waiting_for_idle_processes_ends_if_looking_is_slow(monkeypatch):
    """On a machine with hundreds of threads, reading the state of all of them takes many ticks."""
    process_tree = load_tool("process_tree", "benchmarks")
    look = process_tree.processes

    def slow_look():
        until = time.thread_time() + 0.015
        while time.thread_time() < until:
            pass
        return look()

    monkeypatch.setattr(process_tree, "processes", slow_look)
    monkeypatch.setattr(process_tree, "running", lambda: False)
    began = time.perf_counter()
    process_tree.settle(limit=60)
    assert time.perf_counter() - began < 10
