"""A run that is killed, stopped or moved goes on as if nothing had happened."""

import os
import signal

import numpy as np

from tests.end_to_end.conftest import STEPS, assert_same, read_metrics, wait_for


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
