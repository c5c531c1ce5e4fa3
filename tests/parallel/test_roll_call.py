"""The roll call, with threads instead of processes."""

import concurrent.futures
import json
import socket

import pytest

from uniwav_jax.errors import LostProcessError, UserError
from uniwav_jax.parallel import roll_call as module
from uniwav_jax.parallel.roll_call import roll_call


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def come(address, *processes, seconds=10.0):
    """The outcome for each process, given as (index, count): None or its exception."""
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        calls = [pool.submit(roll_call, address, n, index, seconds) for index, n in processes]
        return [call.exception() for call in calls]


def test_all_processes_arrive(address):
    assert come(address, *[(index, 20) for index in reversed(range(20))]) == [None] * 20


def test_all_processes_get_the_name_of_a_missing_one(address, capsys, monkeypatch):
    monkeypatch.setattr(module, "NOTICE", 0.5)
    errors = come(address, (0, 4), (2, 4), seconds=1.0)
    assert {type(error) for error in errors} == {LostProcessError}
    assert {str(e) for e in errors} == {f"processes 1, 3 of 4 did not connect to {address} in 1 s"}
    assert f"waiting for processes 1, 3 of 4 at {address}" in capsys.readouterr().out


def test_first_process_does_not_arrive(address):
    (error,) = come(address, (1, 2), seconds=0.5)
    assert isinstance(error, LostProcessError)
    assert f"process 0 was not reached at {address} in 0.5 s" in str(error)


def test_another_program_uses_the_port():
    with socket.create_server(("localhost", 0)) as server:
        server.settimeout(5)
        address = f"localhost:{server.getsockname()[1]}"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(roll_call, address, 2, 1, 0.0)
            other, _ = server.accept()
            other.sendall(b"SSH-2.0-other\n")
            assert "another program answers" in str(call.exception())
            other.close()
        (error,) = come(address, (0, 2), seconds=0.1)
    assert type(error) is UserError and "cannot listen at port" in str(error)


@pytest.mark.parametrize(
    "processes, words",
    [
        (((0, 2), (1, 3)), ("process 1 (", "expects 3 processes, process 0 2", "NNODES")),
        (((0, 3), (1, 3), (1, 3)), ("two processes have index 1", "NODE_RANK")),
    ],
)
def test_contradictions_are_reported_to_all(address, processes, words):
    for error in come(address, *processes):
        assert type(error) is UserError and all(word in str(error) for word in words)


def test_a_process_may_reconnect_and_strangers_are_not_counted(address):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(roll_call, address, 3, 0, 30.0)
        while True:
            try:
                stranger = socket.create_connection(address.split(":"))
                break
            except OSError:
                assert not first.done()
        stranger.settimeout(10)
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        assert stranger.recv(1) == b""  # the connection was closed
        with socket.create_connection(address.split(":")) as left:
            left.sendall(json.dumps([1, 3, "host"]).encode() + b"\n")
        third = pool.submit(roll_call, address, 3, 2, 30.0)
        assert not concurrent.futures.wait([first, third], timeout=1.0).done
        assert come(address, (1, 3)) == [None]
        assert first.result() is third.result() is None
