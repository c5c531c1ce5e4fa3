"""A run that loses its processes or its disk; the long version is benchmarks/fault_drill.py."""

import os
import random
import signal
import time

import psutil
import pytest

from tests.conftest import limited_files
from tests.end_to_end.conftest import STEPS, assert_same, read_metrics, wait_for

SETTINGS = {"train__steps": STEPS, "checkpoint__every": 5}


def error_of(process, *, status):
    """The only error line; nothing but notes of Python's tracker of shared memory follows."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status and "Traceback" not in output, output
    _, error, after = output.partition("error: ")
    message, *rest = after.splitlines()
    assert error and all("resource_tracker" in line for line in rest if line.strip()), output
    return message


def readers_of(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def checkpoints_of(workdir):
    """Steps of the finished ones, and names of what else is there."""
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    saved = sorted(int(name) for name in names if name.isdigit())
    return saved, [name for name in names if not name.isdigit()]


def test_killed_again_and_again(program, undisturbed, tmp_path):
    """Kills at start-up, in mid-save and in between lose only the steps since the last save."""
    dice = random.Random(0)
    for step in (5, 15, 25, None):
        workers = 2 if step == 25 else 0
        process = program.start(program.command(tmp_path, data__workers=workers, **SETTINGS))
        if step is None:
            time.sleep(3.0)  # importing, or reading the checkpoint
        else:
            wait_for(process, tmp_path / "checkpoints" / str(step) / "commit_success.txt")
            time.sleep(dice.uniform(0.0, 0.3))
            while step == 15 and not checkpoints_of(tmp_path)[1] and process.poll() is None:
                time.sleep(0.002)  # until the next save is being written
        before, _ = checkpoints_of(tmp_path)
        readers = readers_of(process)
        process.kill()
        process.wait()
        assert len(readers) == workers and not psutil.wait_procs(readers, timeout=30)[1]
        saved = max(checkpoints_of(tmp_path)[0])
        assert saved >= max(before)
        steps = [line["step"] for line in read_metrics(tmp_path)]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) - saved < 10
    output = program.run(tmp_path, **SETTINGS)
    assert f"resuming at step {saved} of" in output
    assert_same(tmp_path, undisturbed)
    assert checkpoints_of(tmp_path) == ([55, 60], [])  # nothing is left of killed saves


def test_lost_reader_and_full_disk(program, undisturbed, tmp_path):
    """Each stops the run with one line; the same command then ends as if nothing had been."""
    command = program.command(tmp_path, data__workers=2, **SETTINGS)
    process = program.start(command)
    wait_for(process, tmp_path / "checkpoints" / "5" / "commit_success.txt")
    readers = readers_of(process)
    assert len(readers) == 2
    readers[0].kill()
    began = time.monotonic()
    message = error_of(process, status=1)
    assert time.monotonic() - began < 60
    assert "reader process" in message and "SIGKILL" in message
    assert not psutil.wait_procs(readers, timeout=30)[1]

    saved, _ = checkpoints_of(tmp_path)
    # Without readers: the limit that stands for a full disk would hit their shared memory too.
    with limited_files(64 * 1024):
        process = program.start(program.command(tmp_path, **SETTINGS))
    message = error_of(process, status=2)
    assert "could not be written" in message and str(tmp_path) in message
    assert checkpoints_of(tmp_path)[0] == saved

    # SIGTERM to every process, as a terminal, Slurm or a container sends it.
    process = program.start(["setsid", *command])
    wait_for(process, tmp_path / "checkpoints" / "25" / "commit_success.txt")
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output

    program.run(tmp_path, data__workers=2, **SETTINGS)
    assert_same(tmp_path, undisturbed)


@pytest.mark.parametrize("place", ["a_file/run", "a_file"])
def test_workdir_that_cannot_be_made(program, tmp_path, place):
    (tmp_path / "a_file").write_text("")
    process = program.start(program.command(tmp_path / place, **SETTINGS))
    assert str(tmp_path / "a_file") in error_of(process, status=2)
