"""One run through everything that happens to several processes, against one left in peace.

4 processes, SIGTERM to one -> 2 processes, one killed -> the same again, SIGTERM -> 1 process
"""

import json
import os
import signal

import numpy as np
import pytest

from tests.end_to_end.conftest import Program, ends, read_metrics
from tests.end_to_end.test_resume import wait_for

STEPS = 40
SETTINGS = {
    "train__steps": STEPS,
    "checkpoint__every": 5,
    "evaluate__every": 10,
    "evaluate__batches": 1,
    "data__buckets": "(2.0,)",
    # Less to compile: all processes but the first do so anew at each start.
    "model__encoder__layers": 1,
    "model__encoder__position_convolutions": 1,
    "distillation__top_layers": 1,
    "flow__solver": "euler",
}


@pytest.fixture(scope="module")
def settings(small_corpus):
    return {**SETTINGS, "data__eval_manifest": small_corpus / "manifest.tsv"}


@pytest.fixture(scope="module")
def undisturbed(small_corpus, settings, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    Program(small_corpus).run(workdir, **settings)
    return workdir


def saved(workdir):
    names = [child.name for child in (workdir / "checkpoints").iterdir()]
    return max(int(name) for name in names if name.isdigit())


def test_four_processes_become_two_become_one(program, undisturbed, settings, tmp_path):
    # Parameters and tensor axis lie across processes: 0 and 1 hold parts of the same rows.
    mesh = {"mesh__data": 1, "mesh__fsdp": 2, "mesh__tensor": 2}
    running = program.start_processes(tmp_path, processes=4, **settings, **mesh)
    wait_for(running[0], tmp_path / "checkpoints" / "10" / "commit_success.txt")
    os.kill(running[2].pid, signal.SIGTERM)
    ended = ends(running)
    assert [status for status, _ in ended] == [143] * 4, ended
    stopped = saved(tmp_path)
    assert f"preempted: step {stopped} saved" in ended[0][1]
    table = json.loads((tmp_path / "processes.json").read_text())
    assert [p["rows"]["32000"] for p in table] == [[[0, 3]], [[0, 3]], [[4, 7]], [[4, 7]]]
    assert "4 processes agree" in ended[0][1] and ended[3][1].count("process 3") == 0

    running = program.start_processes(tmp_path, processes=2, **settings, mesh__fsdp=2)
    wait_for(running[0], tmp_path / "checkpoints" / str(stopped // 5 * 5 + 10))
    os.kill(running[1].pid, signal.SIGKILL)
    (status, output), (killed, _) = ends(running)
    assert (status, killed) == (1, -signal.SIGKILL), output
    assert output.splitlines()[-1].startswith("error: no answer from process 1 ("), output
    assert f"resuming at step {stopped} of {STEPS}" in output
    kept = saved(tmp_path)
    assert stopped < kept < STEPS

    running = program.start_processes(tmp_path, processes=2, **settings, mesh__fsdp=2)
    wait_for(running[0], tmp_path / "checkpoints" / str(kept + 5))
    os.kill(running[0].pid, signal.SIGTERM)
    ended = ends(running)
    assert [status for status, _ in ended] == [143] * 2, ended
    assert f"resuming at step {kept} of" in ended[0][1]

    program.run(tmp_path, **settings)

    ours, theirs = read_metrics(tmp_path), read_metrics(undisturbed)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("loss", "eval_loss"):
        mine, other = ([line[name] for line in lines if name in line] for lines in (ours, theirs))
        assert len(mine) == {"loss": STEPS, "eval_loss": STEPS // 10}[name]
        # Sums in another order: equal at first, then drifting as any such run.
        np.testing.assert_allclose(mine[:15], other[:15], rtol=1e-4)
        np.testing.assert_allclose(mine, other, rtol=2e-2)
