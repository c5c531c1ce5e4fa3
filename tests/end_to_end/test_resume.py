"""A run that is killed, stopped or moved goes on as if nothing had happened."""

import os
import signal
import time

import jax
import numpy as np
import pytest

from tests.end_to_end.conftest import read_metrics
from uniwav_jax.train import checkpoint

PARTS = ("step", "params", "opt_state", "ema", "task", "features", "skipped")
STEPS = 60


@pytest.fixture(scope="module")
def undisturbed(small_corpus, tmp_path_factory):
    """A run of 60 updates, and what every other run here is compared with."""
    from tests.end_to_end.conftest import Program

    workdir = tmp_path_factory.mktemp("undisturbed")
    Program(small_corpus).run(workdir, train__steps=STEPS, checkpoint__every=10)
    return workdir


def state_of(workdir, step=STEPS):
    return checkpoint.load_numpy(str(workdir / "checkpoints" / str(step)), PARTS)[0]


def assert_same(workdir, reference):
    """Every array of the last checkpoint and every metric, to the last bit."""
    for (path, ours), (_, theirs) in zip(
        jax.tree_util.tree_leaves_with_path(state_of(workdir)),
        jax.tree_util.tree_leaves_with_path(state_of(reference)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(path))
    assert read_metrics(workdir) == read_metrics(reference)


def wait_for(process, path, seconds=300):
    """Until `path` exists; the process must still run then."""
    for _ in range(seconds * 100):
        if path.exists():
            break
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    assert process.poll() is None, "the run ended before it could be disturbed; raise STEPS"


def test_killed_run_resumes_bit_for_bit(program, undisturbed, tmp_path):
    command = program.command(tmp_path, train__steps=STEPS, checkpoint__every=10)
    process = program.start(command)
    wait_for(process, tmp_path / "checkpoints" / "10" / "commit_success.txt")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "checkpoints" / str(STEPS)).exists()

    output = program.run(tmp_path, train__steps=STEPS, checkpoint__every=10)
    assert "resuming at step" in output
    assert_same(tmp_path, undisturbed)


def test_kill_in_mid_save_keeps_the_checkpoint_before(program, undisturbed, tmp_path):
    command = program.command(tmp_path, train__steps=STEPS, checkpoint__every=1)
    process = program.start(command)
    wait_for(process, tmp_path / "checkpoints" / "7" / "commit_success.txt")
    # A save is under way as good as always now: its folder has Orbax's temporary name.
    for _ in range(2000):
        if any("tmp" in child.name for child in (tmp_path / "checkpoints").iterdir()):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    program.run(tmp_path, train__steps=STEPS, checkpoint__every=1)
    assert_same(tmp_path, undisturbed)


def test_sigterm_saves_and_says_so(program, undisturbed, tmp_path):
    command = program.command(tmp_path, train__steps=STEPS, checkpoint__every=10)
    process = program.start(command)
    wait_for(process, tmp_path / "checkpoints" / "10" / "commit_success.txt")
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    saved = max(int(child.name) for child in (tmp_path / "checkpoints").iterdir())
    assert f"preempted: step {saved} saved" in output
    assert read_metrics(tmp_path)[-1]["step"] == saved  # nothing lost between save and exit

    program.run(tmp_path, train__steps=STEPS, checkpoint__every=10)
    assert_same(tmp_path, undisturbed)


def test_resumes_on_another_number_of_devices(program, undisturbed, tmp_path):
    process = program.start(program.command(tmp_path, train__steps=STEPS, checkpoint__every=10))
    wait_for(process, tmp_path / "checkpoints" / "10" / "commit_success.txt")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    program.run(tmp_path, devices=4, train__steps=STEPS, checkpoint__every=10, mesh__fsdp=2)

    ours = [line["loss"] for line in read_metrics(tmp_path)]
    theirs = [line["loss"] for line in read_metrics(undisturbed)]
    # Sums in another order: equal at first, then drifting as any such run.
    np.testing.assert_allclose(ours[:15], theirs[:15], rtol=1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)


def test_init_from_reports_what_it_took(program, undisturbed, tmp_path):
    output = program.run(tmp_path, train__steps=2, init_from=undisturbed, model__encoder__layers=4)
    assert "arrays loaded" in output
    assert "new:  params/encoder/layers/" in output  # stacked layers have another shape now
    # Same architecture: everything is loaded and the first loss is where the other run ended.
    output = program.run(tmp_path / "same", train__steps=2, init_from=undisturbed)
    assert ", 0 left, 0 new" in output
    first = read_metrics(tmp_path / "same")[0]["loss"]
    began, *_, ended = (line["loss"] for line in read_metrics(undisturbed) if "loss" in line)
    assert ended < began and abs(first - ended) < 0.2 * (began - ended)
