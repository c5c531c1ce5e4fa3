"""No process waits for ever for another one, and all errors name the missing process."""

import signal
import time

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.parallel.group import start


@pytest.mark.parametrize("slurm", [False, True])
def test_processes_meet_exchange_and_end(drill, slurm):
    drill.start(*[["exchange:word", "barrier:here", "reduce"]] * 3, limit=60, slurm=slurm)
    for status, output in drill.ends():
        assert status == 0, output
        assert "['word of 0', 'word of 1', 'word of 2']" in output and "[0 1 2]" in output


def test_process_that_does_not_arrive(drill):
    drill.start(["reduce"], None, ["reduce"], limit=5)
    for status, error in drill.ends():
        assert status == 1 and "process 1 of 3 did not connect" in error and "in 5 s" in error


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"NNODES": "2"}, "set NODE_RANK to a number"),
        ({"NNODES": "two", "NODE_RANK": "0"}, "set NNODES to a number"),
        ({"NNODES": "2", "NODE_RANK": "2"}, "ranks are 0 to 1"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "must have the form HOST:PORT"),
    ],
)
def test_contradictory_variables_are_an_error(monkeypatch, variables, words):
    for name in ("NNODES", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"JAX_COORDINATOR_ADDRESS": "localhost:1", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words):
        start(1.0)


def test_mistake_in_one_ends_all_with_its_message(drill):
    drill.start(["reduce:1", "reduce:2"], ["reduce:1", "mistake:no such file"], limit=60)
    (first, message), (second, own) = drill.ends()
    assert first == second == 2
    assert own == "error: no such file"
    assert message.startswith("error: process 1 (") and message.endswith("): no such file")


def test_mistake_in_the_first_process(drill):
    # JAX aborts the others when process 0 ends, so it must wait until they have read the reason.
    drill.start(["mistake:no such file"], ["barrier:here"], ["sleep:60"], limit=60)
    (status, own), *others = drill.ends()
    assert status == 2 and own == "error: no such file"
    for status, message in others:
        assert status == 2 and message.endswith("): no such file"), message


def test_crash_of_one_ends_all(drill):
    drill.start(["reduce:1", "reduce:2"], ["reduce:1", "crash:unforeseen"], limit=60)
    (first, message), (second, own) = drill.ends()
    assert first == second == 1
    assert own == "error: ValueError: unforeseen"
    assert message.startswith("error: process 1 (") and message.endswith(
        "): ValueError: unforeseen"
    )


def test_killed_process_is_named(drill):
    drill.start(*[["reduce:1", "sleep:1", "reduce:2"]] * 3, limit=60)
    drill.wait_for(1, "done reduce")
    drill.processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    (first, error), (killed, _), (third, also) = drill.ends()
    assert (first, killed, third) == (1, -signal.SIGKILL, 1)
    assert "error: no answer from process 1 (" in error and "no answer from process 1 (" in also
    assert "the same command continues" in error
    assert time.monotonic() - began < 60


def test_stopped_process_is_named(drill):
    """Its sockets stay open, so that no error occurs; JAX would need 100 s to notice."""
    drill.start(["reduce:1", "sleep:90"], ["reduce:1", "sleep:90"], limit=5)
    drill.wait_for(1, "done reduce")
    drill.processes[1].send_signal(signal.SIGSTOP)
    ((status, error),) = drill.ends(0)
    assert status == 1 and "no answer from process 1 (" in error
    assert "no sign of life from process 1 (" in error


def test_process_that_is_alive_but_makes_no_progress(drill):
    drill.start(["reduce:1", "reduce:2"], ["reduce:1", "sleep:60", "reduce:2"], limit=4)
    for status, error in drill.ends():
        assert status == 1 and "no progress for 4 s" in error
        assert "process 1 (" in error and "last at 'reduction 1') fell behind" in error
        assert "is at 'reduction 2'" in error


def test_barrier_names_the_missing_processes(drill):
    drill.start(["barrier:restored"], ["sleep:60"], ["barrier:restored"], limit=4)
    for status, error in drill.ends():
        assert status == 1 and "s at 'restored' for process 1 (" in error
        assert "last at 'the start'" in error and "config.mesh.wait_seconds = 4" in error


def test_a_single_process_needs_no_time(drill):
    drill.start(["exchange:word", "barrier:here", "mistake:no such file"], limit=60)
    assert drill.ends() == [(2, "error: no such file")]
