"""Coordinates the processes of a run: they wait with a time limit, and end together.

JAX alone waits without limit for a process that is alive but stuck, because collectives have no
time limit, and it aborts the interpreter 100 s after a process died. Here each process publishes
its progress through JAX's coordination service, and process 0 looks for processes that stopped
publishing or fell behind. A process that fails publishes the reason, so that all processes end soon
and print the first error.
"""

import contextlib
import json
import os
import pathlib
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import NoReturn

import jax

from uniwav_jax.errors import LostProcessError, UserError
from uniwav_jax.parallel import jax_internals
from uniwav_jax.parallel.roll_call import roll_call

POLL = 5.0  # seconds between two checks of the other processes
# A process counts as lost when nothing has been received from it for this many seconds. JAX aborts
# after 100 s by itself, but its message does not name the host.
SILENCE = 60.0
GRACE = 10.0  # seconds in which the others must have noticed that a process ends
CLOSING = 30.0  # seconds for closing files after an error that all processes raise
# Folders of keys, each with one key per process: its progress, why it ends, and that it has ended.
PROGRESS, REPORTS, GONE = "uniwav/progress/", "uniwav/reports/", "uniwav/gone/"


@contextlib.contextmanager
def together(seconds: float) -> Iterator["Group"]:
    """Connect the processes; if the block fails in one of them, all end by `Group.leave`.

    In a run of one process, exceptions other than `UserError` are raised as usual.

    Args:
        seconds: how long processes wait for one another.

    Raises:
        UserError: environment variables are wrong or contradict those of another process.
        LostProcessError: a process did not start.
    """
    group = start(seconds)
    try:
        yield group
        group.close()
    except BaseException as error:
        if group.count == 1 and not isinstance(error, UserError):
            raise
        group.leave(error)


def start(seconds: float) -> "Group":
    """Start `jax.distributed`; call it before anything else that uses JAX's devices.

    Plain hosts set JAX_COORDINATOR_ADDRESS, NNODES and NODE_RANK; JAX detects Slurm and TPU pods.
    A single process starts it too, because JAX reports preemption (SIGTERM) through it.

    Args:
        seconds: how long processes wait for one another.

    Raises:
        UserError, LostProcessError: as `together`.
    """
    if jax.distributed.is_initialized():
        return Group(seconds)
    devices = None
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        address, count, index = _from_environment()
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 or _on_tpu():
        address, count, index, devices = jax_internals.detect_cluster(round(seconds))
    else:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        # A single process misses heartbeats only if the machine sleeps, which must not end the run.
        jax.distributed.initialize(f"localhost:{port}", 1, 0, heartbeat_timeout_seconds=10**7)
        return Group(seconds)
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        # Where a process has several devices, jaxlib 0.12.0.1 lets one whose matmuls YNN fuses run
        # ahead of a loop, so that it does its collectives in another order than the others.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"--xla_cpu_experimental_ynn_fusion_type= {flags}".strip()
    if address and count and count > 1 and index is not None:
        roll_call(address, count, index, seconds)
    jax.distributed.initialize(
        address, count, index, devices, initialization_timeout=max(round(seconds), 1)
    )
    return Group(seconds)


def _from_environment() -> tuple[str, int, int]:
    """Address of the coordinator, number of processes, and index of this one."""
    address = os.environ["JAX_COORDINATOR_ADDRESS"]
    if not address.rpartition(":")[2].isdigit() or ":" not in address:
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address} must have the form HOST:PORT")
    numbers = []
    for name in ("NNODES", "NODE_RANK"):
        value = os.environ.get(name, "")
        if not value.isdigit():
            raise UserError(f"JAX_COORDINATOR_ADDRESS is set; set {name} to a number too")
        numbers.append(int(value))
    count, index = numbers
    if index >= count:
        raise UserError(f"NODE_RANK={index}, but with NNODES={count} ranks are 0 to {count - 1}")
    return address, count, index


def _on_tpu() -> bool:
    """Whether this machine has a TPU that JAX may use."""
    wanted = os.environ.get("JAX_PLATFORMS", "tpu")
    devices = ("/dev/accel0", "/dev/vfio/0")
    return "tpu" in wanted and any(pathlib.Path(device).exists() for device in devices)


def _ending(error: BaseException) -> tuple[str, int]:
    """The message of an error in one line, and its exit status."""
    if isinstance(error, UserError):
        return str(error), error.status
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}", 1


class Group:
    """This process as a member of its run; in a run of one process the methods do nothing.

    All processes must call `beat`, `barrier` and `exchange` in the same order.

    Attributes:
        index: number of this process, from 0.
        count: number of processes.
        host: name of this machine.
    """

    def __init__(self, seconds: float) -> None:
        self._client, self._limit = jax_internals.client(), seconds
        self.index, self.count = jax_internals.process()
        self.host = socket.gethostname()
        self._beats, self._place, self._moved = 0, "the start", time.monotonic()
        self._looks, self._reported, self._closing, self._waiting = 0, 0.0, 0.0, False
        # {process: (number of its last check, time when this process first saw that number)}.
        self._signs: dict[int, tuple[int, float]] = {}
        self._done, self._leaving = threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        if self.count > 1:
            self._publish()
            self._watcher.start()

    def beat(self, place: str) -> None:
        """Record that this process has reached `place`; call it again within the time limit."""
        self._beats, self._place, self._moved = self._beats + 1, place, time.monotonic()

    def barrier(self, name: str) -> None:
        """Wait until all processes have called this; each `name` can be used once.

        Raises:
            LostProcessError: the time limit passed; names the missing processes and their progress.
        """
        if self.count == 1:
            return
        self.beat(name)
        self._publish()
        self._waiting = True
        try:
            self._client.wait_at_barrier(f"uniwav/{name}", round(1000 * self._limit))
        except jax.errors.JaxRuntimeError as error:
            places = self._places()
            late = [p for p in range(self.count) if places.get(p, [0, 0])[1] < self._beats]
            raise LostProcessError(
                f"waited {time.monotonic() - self._moved:.0f} s at '{name}' for"
                f" {self._describe(late, places)} (config.mesh.wait_seconds = {self._limit:g})"
            ) from error
        finally:
            self._waiting = False
        self.beat(f"after {name}")

    def exchange(self, name: str, value: str) -> list[str]:
        """The `value` of every process, in the order of the processes' indices.

        Raises:
            LostProcessError: as in `barrier`.
        """
        if self.count == 1:
            return [value]
        self._client.key_value_set(f"uniwav/{name}/{self.index}", value)
        self.barrier(name)
        return [value for _, value in sorted(self._read(f"uniwav/{name}/").items())]

    def close(self) -> None:
        """Wait until all processes have finished the run, and stop watching them."""
        self.barrier("the end")
        self._done.set()
        if self.count > 1:
            self._watcher.join(timeout=POLL)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """If the block fails, report it to the other processes before this one closes its files.

        Closing may never return once a process has ended, because all must finish a checkpoint.
        """
        try:
            yield
        except BaseException as error:
            self._report(error)
            raise

    def leave(self, error: BaseException) -> NoReturn:
        """End all processes at once, with the message and the exit status of the first error.

        A regular exit would wait for processes that have ended, and Orbax's threads would print
        after the message. A `UserError` prints one line; other errors print a traceback before it.
        """
        if not self._leaving.acquire(blocking=False):
            threading.Event().wait()  # another thread is ending this process
        self._report(error)
        message, status = _ending(error)
        if self.count > 1:
            message, status = self._first_report(message, status)
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)
        if self.count > 1:
            self._wait_for_ends()
        os._exit(status)

    def _report(self, error: BaseException) -> None:
        """Publish why this process ends; only its first report counts."""
        if self.count == 1 or self._reported:
            return
        if not isinstance(error, UserError):
            traceback.print_exception(error)
        message, status = _ending(error)
        self._reported = time.monotonic()
        # An unfinished save can be completed only if all processes raise the same error.
        self._closing = CLOSING if status == UserError.status else POLL
        # Without process 0 JAX ends this process anyway.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            order = self._client.key_value_increment("uniwav/leaving", 1)
            report = json.dumps([order, self.host, message, status])
            self._client.key_value_set(f"{REPORTS}{self.index}", report)

    def _first_report(self, message: str, status: int) -> tuple[str, int]:
        """The message and status of the first report, after all have reported or GRACE has passed.

        Args:
            message, status: those of this process.
        """
        places, reports = {}, {}
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            places = self._places()
            while True:
                reports = {index: json.loads(text) for index, text in self._read(REPORTS).items()}
                if len(reports) == self.count or time.monotonic() > self._reported + GRACE:
                    break
                time.sleep(0.2)
        if not reports:
            return message, status
        first = min(reports, key=lambda index: reports[index][0])
        own, (_, host, message, status) = message, reports[first]
        if first != self.index and message != own:  # all may have raised the same error
            message = f"process {first} ({host}): {message}"
        absent = [index for index in range(self.count) if index not in reports]
        if absent:
            return (
                f"no answer from {self._describe(absent, places)}; the same command continues the"
                f" run (reported by other processes, perhaps as a consequence: {message})"
            ), 1
        return message, status

    def _wait_for_ends(self) -> None:
        """Make process 0 end last: JAX's service ends with it, and JAX then aborts the others."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.key_value_set(f"{GONE}{self.index}", "")
            deadline = time.monotonic() + CLOSING + GRACE + POLL
            while self.index == 0 and time.monotonic() < deadline:
                time.sleep(0.5)
                if self._read(REPORTS).keys() <= self._read(GONE).keys():
                    break

    def _watch(self) -> None:
        """Publish progress, end when another process ends, and look for lost ones; in a thread."""
        while not self._done.wait(min(POLL, self._limit / 4)):
            self._looks += 1
            try:
                self._publish()
                ending = self._read(REPORTS)
                lost = self._lost() if self.index == 0 else ""
            except jax.errors.JaxRuntimeError:
                continue  # without process 0 JAX ends this process
            closing = self._reported and time.monotonic() - self._reported < self._closing
            if (ending or lost) and not closing:
                self.leave(LostProcessError(lost))

    def _lost(self) -> str:
        """Describe processes that are lost or behind, or return ""; only process 0 calls this."""
        now, places = time.monotonic(), self._places()
        for index in range(self.count):
            looks = places.get(index, [0])[0]
            if self._signs.get(index, (-1, now))[0] != looks:
                self._signs[index] = (looks, now)
        silence = min(SILENCE, self._limit)
        silent = [index for index, (_, when) in self._signs.items() if now - when > silence]
        if silent:
            return f"no sign of life from {self._describe(silent, places)} for {silence:g} s"
        # At a barrier wait longer, because the barrier's own message is more specific.
        if now - self._moved > self._limit * (2 if self._waiting else 1) + GRACE:
            beats = {index: place[1] for index, place in places.items()}
            behind = [i for i, n in beats.items() if n < max(beats.values())]
            return (
                f"no progress for {self._limit:g} s (config.mesh.wait_seconds): "
                + (f"{self._describe(behind, places)} fell behind; " if behind else "")
                + f"process 0 ({self.host}) is at '{self._place}'"
            )
        return ""

    def _publish(self) -> None:
        """Publish the progress of this process."""
        place = json.dumps([self._looks, self._beats, self._place, self.host])
        self._client.key_value_set(f"{PROGRESS}{self.index}", place, allow_overwrite=True)

    def _places(self) -> dict[int, list]:
        """{process: [looks, beats, place, host]}."""
        return {index: json.loads(place) for index, place in self._read(PROGRESS).items()}

    def _read(self, folder: str) -> dict[int, str]:
        """{process: value} of the keys in a folder."""
        return {
            int(key.rpartition("/")[2]): value
            for key, value in self._client.key_value_dir_get(folder)
        }

    def _describe(self, indices: Iterable[int], places: dict[int, list]) -> str:
        """List processes with their hosts and last places; at most four are named."""
        names = []
        for index in sorted(indices):
            *_, place, host = places.get(index, ["", "", "unknown host"])
            names.append(f"process {index} ({host}" + (f", last at '{place}')" if place else ")"))
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
