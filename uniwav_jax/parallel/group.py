"""The processes of one run: they wait for one another with a limit, and end together.

JAX alone waits without end for a process that lives but is stuck (a collective has no time limit),
and aborts the interpreter 100 s after one died. Here each process says through JAX's coordination
service where it is, process 0 watches who falls silent or behind, and whoever fails leaves word, so
that all end soon, with the first cause.
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
from jax._src import clusters
from jax._src.distributed import global_state

from uniwav_jax.errors import LostProcessError, UserError
from uniwav_jax.parallel.roll_call import roll_call

POLL = 5.0  # seconds from one look at the others to the next
SILENCE = 60.0  # seconds without a sign of life; JAX's abort, which names no host, comes at 100
GRACE = 10.0  # seconds in which the others must have noticed that one leaves
CLOSING = 30.0  # seconds for closing files after a mistake that all notice
AT, WORDS, GONE = "uniwav/at/", "uniwav/words/", "uniwav/gone/"


@contextlib.contextmanager
def together(seconds: float) -> Iterator["Group"]:
    """Start the processes; when the block fails in one of them, all end as `Group.leave` says.

    Alone, an exception that is no `UserError` passes.

    Args:
        seconds: how long processes wait for one another.

    Raises:
        UserError: the variables are wrong or contradict those of another process.
        LostProcessError: a process did not come.
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
    """Start `jax.distributed`; must come before anything else touches JAX.

    Plain hosts: JAX_COORDINATOR_ADDRESS, NNODES, NODE_RANK. Slurm and TPU pods are detected by
    JAX. A single process starts it too: the preemption notice (SIGTERM) goes through it.
    """
    if jax.distributed.is_initialized():
        return Group(seconds)
    devices = None
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        address, count, index = _from_environment()
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 or _on_tpu():
        address, count, index, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, round(seconds)
        )
    else:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        # Alone, silence means that this machine slept: no reason to end the run.
        jax.distributed.initialize(f"localhost:{port}", 1, 0, heartbeat_timeout_seconds=10**7)
        return Group(seconds)
    if address and count and count > 1 and index is not None:
        roll_call(address, count, index, seconds)
    jax.distributed.initialize(
        address, count, index, devices, initialization_timeout=max(round(seconds), 1)
    )
    return Group(seconds)


def _from_environment() -> tuple[str, int, int]:
    address = os.environ["JAX_COORDINATOR_ADDRESS"]
    if not address.rpartition(":")[2].isdigit() or ":" not in address:
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address}: write HOST:PORT")
    numbers = []
    for name in ("NNODES", "NODE_RANK"):
        value = os.environ.get(name, "")
        if not value.isdigit():
            raise UserError(f"JAX_COORDINATOR_ADDRESS is set, so set {name} to a number too")
        numbers.append(int(value))
    count, index = numbers
    if index >= count:
        raise UserError(f"NODE_RANK={index} with NNODES={count}: ranks are 0 to {count - 1}")
    return address, count, index


def _on_tpu() -> bool:
    wanted = os.environ.get("JAX_PLATFORMS", "tpu")
    devices = ("/dev/accel0", "/dev/vfio/0")
    return "tpu" in wanted and any(pathlib.Path(device).exists() for device in devices)


def _ending(error: BaseException) -> tuple[str, int]:
    """What a process says of an error, in one line, and the status with which it ends."""
    if isinstance(error, UserError):
        return str(error), error.status
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}", 1


class Group:
    """This process among those of its run; alone it does nothing and says nothing.

    All processes call `beat`, `barrier` and `exchange` in the same order.

    Attributes:
        index: of this process.
        count: of all.
        host: this machine's name.
    """

    def __init__(self, seconds: float) -> None:
        self._client, self._limit = global_state.client, seconds
        self.index, self.count = global_state.process_id, global_state.num_processes
        self.host = socket.gethostname()
        self._beats, self._place, self._moved = 0, "the start", time.monotonic()
        self._looks, self._told, self._closing, self._waiting = 0, 0.0, 0.0, False
        self._heard: dict[int, tuple[int, float]] = {}  # last look of each process, and when
        self._done, self._leaving = threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        if self.count > 1:
            self._publish()
            self._watcher.start()

    def beat(self, place: str) -> None:
        """Say that this process has come to `place`; must be called within the limit again."""
        self._beats, self._place, self._moved = self._beats + 1, place, time.monotonic()

    def barrier(self, name: str) -> None:
        """Wait until all processes are here; `name` must be new.

        Raises:
            LostProcessError: the limit passed; names who is not here and where it is.
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
        """Everyone's `value`, in the order of the processes."""
        if self.count == 1:
            return [value]
        self._client.key_value_set(f"uniwav/{name}/{self.index}", value)
        self.barrier(name)
        return [value for _, value in sorted(self._read(f"uniwav/{name}/").items())]

    def close(self) -> None:
        """The end of a run that all reached."""
        self.barrier("the end")
        self._done.set()
        if self.count > 1:
            self._watcher.join(timeout=POLL)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """If the block fails, the others know before this process closes its files.

        With one of them gone, closing could take for ever: a checkpoint in the making needs all.
        """
        try:
            yield
        except BaseException as error:
            self._tell(error)
            raise

    def leave(self, error: BaseException) -> NoReturn:
        """End this process at once, all others too: with the first one's message and status.

        At once, as an orderly end would wait for others that do not come, and let Orbax's threads
        complain after the message. A `UserError` is one line, of anything else there is a
        traceback before.
        """
        if not self._leaving.acquire(blocking=False):
            threading.Event().wait()  # the other thread of this process ends it
        self._tell(error)
        message, status = _ending(error)
        if self.count > 1:
            message, status = self._first_words(message, status)
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)
        if self.count > 1:
            self._let_go()
        os._exit(status)

    def _tell(self, error: BaseException) -> None:
        """Leave word why this process ends; the first word of a process stands."""
        if self.count == 1 or self._told:
            return
        if not isinstance(error, UserError):
            traceback.print_exception(error)
        message, status = _ending(error)
        self._told = time.monotonic()
        # A save in the making can only end well where all fail alike.
        self._closing = CLOSING if status == UserError.status else POLL
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # without process 0 JAX ends this one
            order = self._client.key_value_increment("uniwav/leaving", 1)
            words = json.dumps([order, self.host, message, status])
            self._client.key_value_set(f"{WORDS}{self.index}", words)

    def _first_words(self, message: str, status: int) -> tuple[str, int]:
        """Wait until all have left word, but not for the dead; returns what is to be said."""
        places, words = {}, {}
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            places = self._places()
            while True:
                words = {index: json.loads(word) for index, word in self._read(WORDS).items()}
                if len(words) == self.count or time.monotonic() > self._told + GRACE:
                    break
                time.sleep(0.2)
        if not words:
            return message, status
        first = min(words, key=lambda index: words[index][0])
        own, (_, host, message, status) = message, words[first]
        if first != self.index and message != own:  # all may have seen the same
            message = f"process {first} ({host}): {message}"
        absent = [index for index in range(self.count) if index not in words]
        if absent:
            return (
                f"no answer from {self._describe(absent, places)}; the same command continues the"
                f" run (what others saw, perhaps for that reason: {message})"
            ), 1
        return message, status

    def _let_go(self) -> None:
        """Process 0 stays until the others are gone: JAX's service ends with it and aborts them."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.key_value_set(f"{GONE}{self.index}", "")
            deadline = time.monotonic() + CLOSING + GRACE + POLL
            while self.index == 0 and time.monotonic() < deadline:
                time.sleep(0.5)
                if self._read(WORDS).keys() <= self._read(GONE).keys():
                    break

    def _watch(self) -> None:
        """In a thread: tell where this process is, follow who leaves, and look for the lost."""
        while not self._done.wait(min(POLL, self._limit / 4)):
            self._looks += 1
            try:
                self._publish()
                left = self._read(WORDS)
                lost = self._lost() if self.index == 0 else ""
            except jax.errors.JaxRuntimeError:
                continue  # without process 0 JAX ends this one
            closing = self._told and time.monotonic() - self._told < self._closing
            if (left or lost) and not closing:
                self.leave(LostProcessError(lost))

    def _lost(self) -> str:
        """What is wrong with the others, or empty; process 0 alone asks, so that it is cheap."""
        now, places = time.monotonic(), self._places()
        for index in range(self.count):
            looks = places.get(index, [0])[0]
            if self._heard.get(index, (-1, now))[0] != looks:
                self._heard[index] = (looks, now)
        silence = min(SILENCE, self._limit)
        silent = [index for index, (_, when) in self._heard.items() if now - when > silence]
        if silent:
            return f"no sign of life from {self._describe(silent, places)} for {silence:g} s"
        # A barrier's own limit comes first, and its message says more.
        if now - self._moved > self._limit * (2 if self._waiting else 1) + GRACE:
            beats = {index: place[1] for index, place in places.items()}
            behind = [i for i, n in beats.items() if n < max(beats.values())]
            return (
                f"nothing moved for {self._limit:g} s (config.mesh.wait_seconds): "
                + (f"behind is {self._describe(behind, places)}; " if behind else "")
                + f"process 0 ({self.host}) is at '{self._place}'"
            )
        return ""

    def _publish(self) -> None:
        place = json.dumps([self._looks, self._beats, self._place, self.host])
        self._client.key_value_set(f"{AT}{self.index}", place, allow_overwrite=True)

    def _places(self) -> dict[int, list]:
        """{process: [looks, beats, place, host]}."""
        return {index: json.loads(place) for index, place in self._read(AT).items()}

    def _read(self, folder: str) -> dict[int, str]:
        return {
            int(key.rpartition("/")[2]): value
            for key, value in self._client.key_value_dir_get(folder)
        }

    def _describe(self, indices: Iterable[int], places: dict[int, list]) -> str:
        names = []
        for index in sorted(indices):
            *_, place, host = places.get(index, ["", "", "unknown host"])
            names.append(f"process {index} ({host}" + (f", last at '{place}')" if place else ")"))
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
