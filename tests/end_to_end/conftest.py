"""Runs of the real program in separate processes, on real speech."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import forked
from tests.conftest import FAST_COMPILE
from tests.forked import Forked
from uniwav_jax.checkpoint import reader

PARTS = ("step", "params", "opt_state", "ema", "state", "frozen", "skipped")
STEPS = 40
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# The demo with a smaller model and one length of audio, which compiles in a few seconds.
SMALL = {
    "model.encoder.layers": 2,
    "model.encoder.width": 32,
    "model.encoder.heads": 4,
    "model.encoder.ffn": 64,
    "model.encoder.position_groups": 4,
    "model.encoder.position_convolutions": 1,
    "model.decoder.width": 32,
    "model.decoder.heads": 4,
    "model.decoder.ffn": 32,
    "distillation.top_layers": 2,
    "distillation.codewords": 32,
    "features.kind": "log_mel",  # cheaper than the codec
    "features.mel_bands": 20,
    "features.stats_seconds": 20.0,
    "flow.solver": "euler",
    "data.buckets": "(2.0,)",
    "data.batch_seconds": 8.0,
    "data.row_multiple": 4,
    "train.log_every": 1,
    "evaluate.every": 1000,
    "evaluate.sample_every": 0,
}


# Runs of the same length share compiled programs, in which the schedules are constants.
WHOLE = {
    "train__steps": STEPS,
    "checkpoint__every": 5,
    "evaluate__every": 10,
    "evaluate__batches": 1,
}


class Program:
    """`python -m uniwav_jax.main` on a corpus.

    `start` starts the real command. All other methods fork a process that does the same.
    """

    def __init__(self, corpus: pathlib.Path) -> None:
        self.corpus = corpus

    def command(self, workdir: pathlib.Path, **settings) -> list[str]:
        values = {**SMALL, "data.manifest": self.corpus / "manifest.tsv"}
        values |= {name.replace("__", "."): value for name, value in settings.items()}
        return [
            sys.executable,
            "-m",
            "uniwav_jax.main",
            f"--config={REPOSITORY / 'configs' / 'demo.py'}",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in values.items()),
        ]

    def start(self, command: list[str], *, devices: int = 1, **environment) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **_variables(devices), **environment},
        )

    def fork(self, command: list[str], *, devices: int = 1, **environment) -> Forked:
        """Do the same as `start` without the time for imports."""
        arguments = command[command.index("uniwav_jax.main") + 1 :]
        return Forked(forked.train, arguments, variables={**_variables(devices), **environment})

    def run(self, workdir: pathlib.Path, *, devices: int = 1, **settings) -> str:
        """Run to the end and return the output; the exit status must be 0."""
        process = self.fork(self.command(workdir, **settings), devices=devices)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        return output

    def start_processes(
        self, workdir: pathlib.Path, *, processes: int, devices: int = 1, **settings
    ) -> list[Forked]:
        """Start a run of several processes on this machine."""
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        command = self.command(workdir, **settings)
        return [
            self.fork(
                command,
                devices=devices,
                JAX_COORDINATOR_ADDRESS=address,
                NNODES=str(processes),
                NODE_RANK=str(rank),
            )
            for rank in range(processes)
        ]

    def run_processes(self, workdir: pathlib.Path, **settings) -> list[str]:
        """Run several processes to the end and return their outputs; each must exit with 0."""
        ended = ends(self.start_processes(workdir, **settings))
        for status, output in ended:
            assert status == 0, output
        return [output for _, output in ended]


def _variables(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices} {FAST_COMPILE}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def ends(running: list[Forked]) -> list[tuple[int, str]]:
    """Wait for all processes; returns the exit status and output of each."""
    try:
        outputs = [process.communicate(timeout=600)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, output) for process, output in zip(running, outputs)]


@pytest.fixture
def program(small_corpus) -> Program:
    return Program(small_corpus)


def read_metrics(workdir: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl without the metrics that depend on time."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clock = ("audio_seconds_per_second", "input_wait")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


@pytest.fixture(scope="session")
def whole(small_corpus):
    """Settings of a run of 40 updates with evaluations."""
    return {**WHOLE, "data__eval_manifest": small_corpus / "manifest.tsv"}


@pytest.fixture(scope="session")
def undisturbed(small_corpus, whole, made_once):
    """A finished run with the settings `whole`, with which interrupted runs are compared."""
    return made_once("undisturbed", lambda folder: Program(small_corpus).run(folder, **whole))


def state_of(workdir, step=STEPS):
    return reader.open(str(workdir / "checkpoints" / str(step))).arrays(*PARTS)


def assert_same(workdir, reference, step=STEPS):
    """Check that every array of the last checkpoint and every metric is equal to the bit."""
    for (path, ours), (_, theirs) in zip(
        jax.tree_util.tree_leaves_with_path(state_of(workdir, step)),
        jax.tree_util.tree_leaves_with_path(state_of(reference, step)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(path))
    assert read_metrics(workdir) == read_metrics(reference)


def wait_for(process, path, seconds=300):
    """Wait until `path` exists; the process must still be running then."""
    for _ in range(seconds * 100):
        if path.exists():
            break
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    assert process.poll() is None, "the run ended before it could be interrupted; raise STEPS"
