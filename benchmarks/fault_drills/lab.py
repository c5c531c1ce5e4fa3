"""Starts a small training run with and without faults, and compares the two."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import psutil
import soundfile

from uniwav_jax.checkpoint import reader

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("step", "params", "opt_state", "ema", "state", "frozen", "skipped")
STEPS, EVERY = 60, 5
# The demo's config, with a network so small that a start takes longer than all steps.
SETTINGS: dict[str, Any] = {
    "model.encoder.layers": 2,
    "model.encoder.width": 16,
    "model.encoder.heads": 2,
    "model.encoder.ffn": 32,
    "model.encoder.position_groups": 2,
    "model.encoder.position_convolutions": 1,
    "model.decoder.layers": 2,
    "model.decoder.width": 16,
    "model.decoder.heads": 2,
    "model.decoder.ffn": 16,
    "distillation.top_layers": 1,
    "distillation.codewords": 8,
    "features.kind": "log_mel",
    "features.mel_bands": 10,
    "features.stats_seconds": 8.0,
    "data.buckets": "(0.5,)",
    "data.min_seconds": 0.3,
    "data.batch_seconds": 4.0,
    "train.steps": STEPS,
    "train.log_every": 1,
    "checkpoint.every": EVERY,
    "evaluate.every": 1000,
    "evaluate.sample_every": 0,
}
CLOCK = ("audio_seconds_per_second", "input_wait")  # metrics that depend on the clock


class DrillError(Exception):
    """A run did not behave as expected."""


@dataclasses.dataclass
class Row:
    """One line of the result: fault, number of trials, outcome, success and measurements."""

    drill: str
    fault: str
    trials: int
    outcome: str
    passed: bool
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


Result = tuple[str, dict[str, Any]]  # outcome and figures of a trial, which raises if it fails


class Lab:
    """A folder with a corpus, a reference run and the disturbed runs."""

    def __init__(self, folder: pathlib.Path, *, manifest: str, seed: int) -> None:
        self.folder, self.seed = folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest = pathlib.Path(manifest) if manifest else make_speech(folder / "speech")
        self.reference = folder / "reference"
        self.seconds = math.nan  # duration of a run without faults and without compilation

    def prepare(self) -> None:
        """Train the run without faults, which keeps all checkpoints; time it a second time."""
        if not checkpoint_of(self.reference, STEPS).exists():
            self.finish(self.reference, **{"checkpoint.keep": 1000})
        began = time.monotonic()
        self.finish(self.new("again"))
        self.seconds = time.monotonic() - began
        self.compare(self.folder / "again")

    def new(self, name: str, steps: Iterable[int] = ()) -> pathlib.Path:
        """A new workdir with the given checkpoints of the reference run."""
        workdir = self.folder / name
        shutil.rmtree(workdir, ignore_errors=True)
        (workdir / "checkpoints").mkdir(parents=True)
        for step in steps:
            shutil.copytree(checkpoint_of(self.reference, step), checkpoint_of(workdir, step))
            shutil.copy(self.reference / "metrics.jsonl", workdir)
        return workdir

    def start(self, workdir: pathlib.Path, **settings: Any) -> "Run":
        """Start training; settings are config fields."""
        return self.start_command(self.command(workdir, **settings), workdir)

    def start_command(self, command: list[str], workdir: pathlib.Path) -> "Run":
        """Start a command that trains into `workdir`."""
        log, compiled = self.folder / f"{workdir.name}.log", self.folder / "compiled"
        return Run(command, workdir, log=log, compiled=compiled)

    def command(self, workdir: pathlib.Path, **settings: Any) -> list[str]:
        values = {**SETTINGS, "data.manifest": self.manifest, **settings}
        config = REPOSITORY / "configs" / "demo.py"
        flags = [f"--config.{name}={value}" for name, value in values.items()]
        main = [sys.executable, "-m", "uniwav_jax.main", f"--config={config}"]
        return [*main, f"--workdir={workdir}", *flags]

    def finish(self, workdir: pathlib.Path, **settings: Any) -> "Run":
        """Run to the end; raise unless the status is 0."""
        run = self.start(workdir, **settings)
        if run.wait() != 0:
            raise DrillError(f"exit status {run.code}: {run.last_line()}")
        return run

    def forget_compiled(self) -> None:
        """Delete the compilation cache, so that the next run compiles everything."""
        shutil.rmtree(self.folder / "compiled", ignore_errors=True)

    def compare(self, workdir: pathlib.Path, *, metrics: bool = True) -> None:
        """Raise unless the last checkpoint and all metrics are the reference's to the last bit."""
        reference = state_of(self.reference)
        changed = differences(state_of(workdir), reference)
        if changed:
            raise DrillError(f"{len(changed)} arrays differ, the first: {changed[0]}")
        if metrics and read_metrics(workdir) != read_metrics(self.reference):
            raise DrillError("metrics.jsonl differs")


class Run:
    """A training process whose output goes to a file."""

    def __init__(
        self,
        command: list[str],
        workdir: pathlib.Path,
        *,
        log: pathlib.Path,
        compiled: pathlib.Path,
    ) -> None:
        self.workdir, self._log = workdir, log
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "JAX_PLATFORMS": "cpu",
            # Without optimisation and with a cache of all programs a start takes seconds.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # signals to its group do not reach this process
            )
        self._began = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def last_line(self) -> str:
        return (self.output().strip().splitlines() or [""])[-1]

    def resumed(self) -> int | None:
        """The step at which it resumed according to its output; None if it did not."""
        found = re.search(r"resuming at step (\d+)", self.output())
        return int(found[1]) if found else None

    def prepared(self) -> bool:
        """Whether everything is read, and the first step is next."""
        return "loss_decoder is 2" in self.output()

    def wait(self, seconds: float = 900.0) -> int:
        """Wait for the exit status; a run that hangs is killed and reported."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DrillError(f"still running after {seconds:.0f} s: {self.last_line()}") from None

    def kill(self) -> None:
        """Send kill -9 to the main process only, as the kernel does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def until(self, condition: Callable[[], Any], seconds: float = 600.0) -> bool:
        """Poll until the condition is true; False if the run ended before."""
        limit = time.monotonic() + seconds
        while not condition():
            if self.code is not None:
                return False
            if time.monotonic() > limit:
                self.kill()
                raise DrillError(f"no change after {seconds:.0f} s: {self.last_line()}")
            time.sleep(0.005)
        return self.code is None

    def error(self, *words: str, status: int = 2) -> str:
        """The error line of a run that must end with exactly one, after which nothing follows."""
        if self.wait() != status:
            raise DrillError(f"exit status {self.code}: {self.last_line()}")
        output = self.output()
        lines = [line for line in output.splitlines() if line.startswith("error: ")]
        # Python's tracker may print afterwards that it removed a dead process's shared memory.
        after = [line for line in output.partition("error: ")[2].splitlines()[1:] if line.strip()]
        others = [line for line in after if "resource_tracker" not in line]
        if len(lines) != 1 or "Traceback" in output or others:
            raise DrillError(f"the end is not a single error line: {self.last_line()}")
        missing = [word for word in words if word not in lines[0]]
        if missing:
            raise DrillError(f"the error does not contain {missing}: {lines[0]}")
        return lines[0].removeprefix("error: ")

    def readers(self) -> list[psutil.Process]:
        """The reader processes (config.data.workers)."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            return []


def checkpoint_of(workdir: pathlib.Path, step: int) -> pathlib.Path:
    """Folder of a checkpoint."""
    return workdir / "checkpoints" / str(step)


def completed(workdir: pathlib.Path) -> list[int]:
    """Steps of the finished checkpoints in increasing order."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def saving(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Folders of saves that are in progress or were killed."""
    return [path for path in (workdir / "checkpoints").iterdir() if "tmp" in path.name]


def state_of(workdir: pathlib.Path, step: int = STEPS) -> dict[str, Any]:
    """The whole state of a checkpoint."""
    return reader.open(str(checkpoint_of(workdir, step))).arrays(*PARTS)


def differences(ours: Any, theirs: Any) -> list[str]:
    """Paths of arrays that are not equal to the last bit."""
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(ours),
        jax.tree_util.tree_leaves_with_path(theirs),
        strict=True,
    )
    return [
        jax.tree_util.keystr(path)
        for (path, a), (other, b) in pairs
        if path != other or a.shape != b.shape or a.tobytes() != b.tobytes()
    ]


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without the metrics that depend on the clock."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def logged_steps(workdir: pathlib.Path) -> list[int]:
    """Steps in metrics.jsonl, without a half-written last line."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line)["step"] for line in text.splitlines(True) if line.endswith("\n")]


def make_speech(folder: pathlib.Path, clips: int = 24, seconds: float = 3.0) -> pathlib.Path:
    """Write clips of harmonics with a gliding pitch and four loud parts per second.

    Returns:
        The manifest's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random, lines = np.random.default_rng(0), ["path\tsamples\tsample_rate\tspeaker\ttext"]
    time_S = np.arange(round(seconds * 16000)) / 16000
    for clip in range(clips):
        pitch_S = 100 + 60 * random.random() + 20 * np.sin(6 * np.pi * time_S)
        phase_S = 2 * np.pi * np.cumsum(pitch_S) / 16000
        wave_S = sum(np.sin(k * phase_S) / k for k in range(1, 12))
        wave_S *= 0.5 + 0.5 * np.sin(8 * np.pi * time_S + 6 * random.random())
        wave_S = 0.1 * wave_S + 0.01 * random.normal(size=len(time_S))
        soundfile.write(folder / f"{clip:02d}.wav", wave_S, 16000, subtype="PCM_16")
        lines.append(f"{clip:02d}.wav\t{len(wave_S)}\t16000\tspeaker{clip % 4}\t")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.tsv"


def attempt(
    drill: str, fault: str, trial: Callable[..., Result], *arguments: Any, trials: int = 1
) -> Row:
    """The row of a trial; an exception is a failure and does not end the other trials."""
    try:
        outcome, figures = trial(*arguments)
    except Exception as error:
        return Row(drill, fault, trials, f"{type(error).__name__}: {error}"[:500], passed=False)
    return Row(drill, fault, trials, outcome, True, figures)
