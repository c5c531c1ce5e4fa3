"""The lock of a working directory, which another process holds."""

import pathlib
import subprocess
import sys

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.train import lock

HOLD = """
import sys
from uniwav_jax.train import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(workdir: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(workdir)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_training_is_refused_until_the_first_is_gone(tmp_path):
    workdir = tmp_path / "runs" / "a"
    first = holder(workdir)
    message = rf"runs/a is in use by another training \(process {first.pid} on .*another --workdir"
    for _ in range(2):  # a refused process does not free the lock
        with pytest.raises(UserError, match=message), lock.held(str(workdir)):
            raise AssertionError
    with lock.held(str(tmp_path / "runs" / "b")):
        pass
    first.kill()
    first.communicate()
    with lock.held(str(workdir)):
        pass


def test_buckets_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lock.held("gs://bucket/run"):
        assert not list(tmp_path.iterdir())


def test_file_systems_without_locks_are_no_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with lock.held(str(tmp_path)):
        pass
