"""Processes that are forked from one that has imported the package but has not started JAX.

The imports take three seconds of computation, which hundreds of processes need only once.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable

import jax

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["uniwav_jax.main", "uniwav_jax.train.loop"])


class Forked:
    """A process that calls a function, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, function: Callable, *given: object, variables: dict[str, str]) -> None:
        """Start the process.

        Args:
            function: a function of a module.
            given: its arguments.
            variables: environment variables in addition to those of this process.
        """
        reader, writer = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=_begin, args=(function, given, variables, writer))
        self._process.start()
        writer.close()
        self.pid = self._process.pid
        self.stdout = os.fdopen(os.dup(reader.fileno()))  # and stderr
        reader.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> None:
        self._process.join()

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Wait for the end and return the output; the process is killed at the time limit."""
        late = threading.Timer(timeout, self.kill)
        late.start()
        output = self.stdout.read()
        self.wait()
        late.cancel()
        return output, None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _begin(
    function: Callable,
    given: tuple,
    variables: dict[str, str],
    output: multiprocessing.connection.Connection,
) -> None:
    os.environ.update(variables)
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    try:
        function(*given)
    finally:
        # JAX leaves its group in a function that runs at exit; forked processes have no such end,
        # and the first to go, if it serves the others, would make JAX abort them.
        jax.distributed.shutdown()


def train(arguments: list[str]) -> None:
    """What `python -m uniwav_jax.main` does."""
    from absl import app

    from uniwav_jax import main

    sys.argv[:] = ["uniwav_jax.main", *arguments]
    app.run(main.main, flags_parser=main.parse_flags)
