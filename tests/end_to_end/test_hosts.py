"""One run through what happens to several processes, compared with an undisturbed one.

2 processes, one killed  ->  2 processes of 2 devices, SIGTERM to one  ->  1 process
"""

import json
import os
import signal
import time

import numpy as np

from tests.end_to_end.conftest import STEPS, ends, read_metrics, wait_for


def saved(workdir):
    """Step of the newest finished checkpoint."""
    folders = (workdir / "checkpoints").iterdir()
    return max(int(f.name) for f in folders if (f / "commit_success.txt").exists())


def test_two_processes_become_one(program, undisturbed, whole, tmp_path):
    # Both processes load the same rows, and have a half of each of the larger parameters.
    mesh = {"mesh__data": 1, "mesh__tensor": 2}
    running = program.start_processes(tmp_path, processes=2, **whole, **mesh)
    wait_for(running[0], tmp_path / "checkpoints" / "10" / "commit_success.txt", seconds=900)
    os.kill(running[1].pid, signal.SIGKILL)
    began = time.monotonic()
    ended = ends(running)
    assert time.monotonic() - began < 60  # JAX alone: 100 s where no socket tells
    assert [status for status, _ in ended] == [1, -signal.SIGKILL], ended
    assert ended[0][1].splitlines()[-1].startswith("error: no answer from process 1 ("), ended
    assert "self-check: 2 processes agree" in ended[0][1]
    table = json.loads((tmp_path / "processes.json").read_text())
    assert [p["rows"]["32000"] for p in table] == [[[0, 3]], [[0, 3]]]

    kept = saved(tmp_path)
    # Each process is a slice, with its own half of the rows.
    slices = {"mesh__fsdp": 2, "mesh__slices": 2}
    running = program.start_processes(tmp_path, processes=2, devices=2, **whole, **slices)
    wait_for(running[0], tmp_path / "checkpoints" / str(kept + 5), seconds=900)
    os.kill(running[1].pid, signal.SIGTERM)
    ended = ends(running)
    assert [status for status, _ in ended] == [143, 143], ended
    assert f"resuming at step {kept} of {STEPS}" in ended[0][1]
    assert kept < saved(tmp_path) < STEPS
    assert f"preempted: step {saved(tmp_path)} saved" in ended[0][1]
    assert "error" not in ended[1][1]

    program.run(tmp_path, **whole)
    ours, theirs = read_metrics(tmp_path), read_metrics(undisturbed)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name, count in (("loss", STEPS), ("eval_loss", STEPS // 10)):
        mine, other = ([line[name] for line in lines if name in line] for lines in (ours, theirs))
        assert len(mine) == count
        # Sums are computed in another order, so the runs are equal at first and then diverge.
        np.testing.assert_allclose(mine[: count // 3], other[: count // 3], rtol=1e-4)
        np.testing.assert_allclose(mine, other, rtol=2e-2)
