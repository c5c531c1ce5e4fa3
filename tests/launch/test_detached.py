"""launch/detached.sh, which runs a job independently of a connection."""

import contextlib
import os
import signal
import time

import pytest

from tests.launch.conftest import BASH, Machine, finish

STUBBORN = 'trap "" TERM; sleep 100 & echo $! >child; wait'


@pytest.fixture
def job(machine):
    def run(*arguments: str) -> str:
        result = machine.run("detached.sh", *arguments)
        assert result.returncode == 0 and result.stderr == "", result
        return result.stdout

    yield run
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(keeper(machine), signal.SIGKILL)


def keeper(machine: Machine) -> int:
    return int((machine.folder / "home" / "uniwav_job" / "keeper").read_text())


def lines(text: str) -> list[str]:
    return [line.partition(":")[2] for line in text.splitlines()]


def test_one_start_after_another_and_what_follow_shows(job):
    assert job("state") == "none\n"
    job("start", BASH, "-c", "echo one; echo two; exit 7")
    shown = lines(job("follow"))
    assert shown[0].startswith("== ") and shown[1:] == ["one", "two", "7"]
    assert job("follow", "2") == "1:two\nend:7\n"
    assert job("state") == "ended 7\n"
    assert "two" in job("stop")  # nothing runs: it prints how the job ended
    job("start", BASH, "-c", "echo three")
    assert lines(job("follow", "1")) == ["three", "0"]


def test_a_running_job_is_not_started_again(job):
    job("start", "sleep", "100")
    assert job("state").split() == ["running", "1", "sleep", "100"]
    assert job("start", "sleep", "200") == "already running: sleep 100\n"
    assert "exit status 143" in job("stop")


def test_a_job_that_does_not_end_is_killed_with_its_children(job, machine):
    job("start", BASH, "-c", STUBBORN)
    child = machine.folder / "child"
    while not child.exists() or not child.read_text():
        time.sleep(0.02)
    assert "exit status 137" in job("stop", "0")
    assert job("state") == "ended 137\n"
    deadline = time.monotonic() + 10
    while running(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_restart_of_the_machine_is_an_end_without_status(job, machine: Machine):
    job("start", "sleep", "100")
    follower = machine.start("detached.sh", "follow", "1")
    os.killpg(keeper(machine), signal.SIGKILL)
    assert finish(follower).stdout == "end:unknown\n"
    assert job("state") == "ended unknown\n"
