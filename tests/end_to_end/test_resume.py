"""A run that is killed, stopped or moved goes on as if nothing had happened."""

import os
import signal

import jax
import numpy as np

from tests.end_to_end.conftest import STEPS, assert_same, read_metrics, state_of, wait_for


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


def test_init_from_starts_where_the_other_run_ended(program, undisturbed, tmp_path):
    """With next to no learning rate the parameters after an update are those of the other run."""
    settings = {"train__steps": 1, "optim__lr": 1e-9, "optim__warmup": 0.0, "optim__hold": 0.5}
    output = program.run(tmp_path / "same", init_from=undisturbed, **settings)
    assert ", 0 left, 0 new" in output
    program.run(tmp_path / "fresh", **settings)
    theirs, ours, fresh = (
        state_of(workdir, step)["params"]
        for workdir, step in ((undisturbed, STEPS), (tmp_path / "same", 1), (tmp_path / "fresh", 1))
    )
    kernels = [tree["heads"]["kernel"] for tree in (theirs, fresh)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3  # training has moved them
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-7), ours, theirs)
