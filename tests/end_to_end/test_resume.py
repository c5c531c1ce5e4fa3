"""A run that is killed, stopped or has no disk space continues exactly as without interruption.

benchmarks/fault_drill.py is a longer version.
"""

import os
import signal
import time

import psutil

from tests.conftest import limited_files
from tests.end_to_end.conftest import STEPS, assert_same, read_metrics, wait_for
from uniwav_jax.train import lock


def error_of(process, *, status):
    """Wait for a process and return its error message, which must be its only one.

    Only messages of Python's resource tracker, which cleans up shared memory, may follow it.
    """
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
    """Steps of the finished checkpoints, and names of the other folders."""
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    saved = sorted(int(name) for name in names if name.isdigit())
    return saved, [name for name in names if not name.isdigit()]


def wait_for_checkpoint(process, workdir, step):
    wait_for(process, workdir / "checkpoints" / str(step) / "commit_success.txt")


def test_run_with_every_kind_of_interruption(program, whole, undisturbed, tmp_path):
    """Each interruption loses at most the steps since the last save; the result is exact."""
    plain = program.command(tmp_path, **whole)
    # An evaluation starts its own reader, and each one imports the package.
    readers_too = program.command(tmp_path, data__workers=1, **whole)

    def check_after_kill(readers=()):
        """Step of the newest finished checkpoint; checks that only later steps are lost."""
        assert not psutil.wait_procs(readers, timeout=30)[1]
        saved = max(checkpoints_of(tmp_path)[0])
        steps = [line["step"] for line in read_metrics(tmp_path) if "loss" in line]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) - saved < 10
        return saved

    # The process is killed during a save, while the folder has Orbax's temporary name, and its
    # reader ends with it.
    process = program.start(readers_too)
    wait_for_checkpoint(process, tmp_path, 5)
    readers = readers_of(process)
    while not checkpoints_of(tmp_path)[1] and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert readers
    saved = check_after_kill(readers)

    # A reader is killed between two saves, and the run ends with an error of one line.
    process = program.start(readers_too)
    wait_for_checkpoint(process, tmp_path, saved + 5)
    readers = readers_of(process)
    readers[0].kill()
    began = time.monotonic()
    message = error_of(process, status=1)
    assert time.monotonic() - began < 60
    assert "reader process" in message and "SIGKILL" in message
    saved = check_after_kill(readers)

    # Another training holds the folder.
    with lock.held(str(tmp_path)):
        message = error_of(program.fork(plain), status=2)
    assert f"{tmp_path} is in use by another training (process {os.getpid()} on" in message

    # The disk is full, which a limit on file sizes imitates. There are no readers, because the
    # limit would also apply to their shared memory.
    with limited_files(64 * 1024):
        process = program.start(plain)
    message = error_of(process, status=2)
    assert "could not be written" in message and str(tmp_path) in message
    assert max(checkpoints_of(tmp_path)[0]) == saved

    # Every process receives SIGTERM, as from a terminal, Slurm or a container.
    process = program.start(["setsid", *readers_too])
    wait_for_checkpoint(process, tmp_path, saved + 5)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    saved = max(checkpoints_of(tmp_path)[0])
    assert saved < STEPS and f"preempted: step {saved} saved" in output
    assert read_metrics(tmp_path)[-1]["step"] == saved  # no step is lost between save and exit

    # The process is killed at start-up, while it imports modules or reads the checkpoint.
    process = program.start(plain)
    time.sleep(3.0)
    process.kill()
    process.wait()
    assert check_after_kill() >= saved

    output = program.run(tmp_path, **whole)
    assert f"resuming at step {max(saved, 5)} of {STEPS}" in output
    assert_same(tmp_path, undisturbed)
    kept, others = checkpoints_of(tmp_path)
    # The older of the two was saved on time or at SIGTERM; temporary folders are removed.
    assert len(kept) == 2 and kept[1] == STEPS and kept[0] >= STEPS - 5 and not others
