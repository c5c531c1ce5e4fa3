"""Starts real processes that connect and end like those of a run, but have no model."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tests.forked import Forked
from tests.parallel import drill as program

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Drill:
    """Processes of `tests.parallel.drill` on this machine."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen | Forked] = []

    def start(self, *jobs: list[str] | None, limit: float, folders=(), slurm=False) -> None:
        """Start one process for each job.

        Args:
            jobs: for each process the list of its actions; None: the process is not started.
            limit: seconds for which the processes wait for each other.
            folders: the folder of each process with its own copy of the package.
            slurm: True sets the variables of srun, as if they were tasks of a Slurm job.
        """
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        for index, job in enumerate(jobs):
            if job is None:
                continue
            variables = {
                "JAX_COORDINATOR_ADDRESS": address,
                "NNODES": str(len(jobs)),
                "NODE_RANK": str(index),
                "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            }
            if slurm:
                variables = {
                    "JAX_COORDINATOR_PORT": address.split(":")[1],
                    "SLURM_JOB_ID": "1",
                    "SLURM_STEP_NODELIST": "localhost",
                    "SLURM_NTASKS": str(len(jobs)),
                    "SLURM_PROCID": str(index),
                    "SLURM_LOCALID": str(index),
                }
            arguments = [str(limit), *job]
            if not folders:
                process = Forked(program.begin, arguments, variables=variables)
                self.processes.append(process)
                continue
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.parallel.drill", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=folders[index],
                # This uses the folder's package, not the one in PYTHONPATH or an installation.
                env={**os.environ, **variables, "PYTHONPATH": str(folders[index])},
            )
            self.processes.append(process)

    def wait_for(self, index: int, line: str) -> None:
        """Wait until process number `index`, in the order of their start, prints `line`."""
        for printed in self.processes[index].stdout:
            if line in printed:
                return
        raise AssertionError(f"no '{line}'")

    def ends(self, *which: int) -> list[tuple[int, str]]:
        """Exit status and error line (or all output) of the given processes, or of all of them."""
        result = []
        for process in [self.processes[i] for i in which] or self.processes:
            output, _ = process.communicate(timeout=120)
            errors = [line for line in output.splitlines() if line.startswith("error: ")]
            assert len(errors) <= 1, output
            result.append((process.returncode, errors[0] if errors else output))
        return result

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def drill():
    drill = Drill()
    yield drill
    drill.kill()
