"""Drills that kill, preempt or suspend processes."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from fault_drills.lab import (
    EVERY,
    DrillError,
    Lab,
    Result,
    Row,
    Run,
    attempt,
    completed,
    logged_steps,
    read_metrics,
    saving,
)

# A function that waits for a moment of a run; it returns False if the run ended before.
Moment = Callable[[Run, Lab, random.Random], bool]


def at_random(run: Run, lab: Lab, dice: random.Random) -> bool:
    """Wait for a random time within the duration of a run without faults."""
    moment = dice.uniform(0.0, lab.seconds)
    return run.until(lambda: run.age > moment)


def in_mid_save(run: Run, lab: Lab, dice: random.Random) -> bool:
    """Wait until one of the next three saves is being written, and up to 0.2 s longer."""
    if not run.until(run.prepared):  # by then, remains of an earlier kill are removed
        return False
    goal = max(completed(run.workdir), default=0) + EVERY * dice.randrange(3)
    run.until(lambda: max(completed(run.workdir), default=0) >= goal and saving(run.workdir))
    time.sleep(dice.uniform(0.0, 0.2))
    return run.code is None


def kill(lab: Lab, restarts: int) -> Iterator[Row]:
    """Send kill -9 to the main process, and repeat the command until the run is finished."""
    with_readers = restarts // 10
    parts: tuple[tuple[str, int, Moment, dict[str, Any]], ...] = (
        ("kill -9 at any moment", restarts // 2 - with_readers, at_random, {}),
        ("kill -9 in mid-save", restarts - restarts // 2, in_mid_save, {}),
        ("kill -9, 2 reader processes", with_readers, at_random, {"data.workers": 2}),
    )
    for fault, count, moment, settings in parts:
        yield attempt("kill", fault, _kills, lab, fault, count, moment, settings, trials=count)


def _kills(lab: Lab, fault: str, wanted: int, moment: Moment, settings: dict[str, Any]) -> Result:
    """Start runs until `wanted` kills are done; each run must end like the reference."""
    dice, kills, in_save, most_lost = random.Random(f"{lab.seed} {fault}"), 0, 0, 0
    for number in itertools.count(1):
        workdir, saved, killed = lab.new(f"kill{number}"), 0, True
        while killed:
            run = lab.start(workdir, **{"checkpoint.keep": 2, **settings})
            killed = kills < wanted and moment(run, lab, dice)
            readers = run.readers()
            in_save += killed and run.prepared() and bool(saving(workdir))
            if killed:
                run.kill()
            elif run.wait() != 0:
                raise DrillError(f"exit status {run.code}: {run.last_line()}")
            if run.prepared() and (run.resumed() or 0) < saved:
                raise DrillError(f"step {saved} was saved, resumed at {run.resumed()}")
            if psutil.wait_procs(readers, timeout=60)[1]:
                raise DrillError("reader processes are alive after the end of the run")
            steps = logged_steps(workdir)
            if steps != list(range(1, len(steps) + 1)):
                raise DrillError(f"metrics.jsonl has steps {steps}")
            kills += killed
            saved = max(completed(workdir), default=0)
            most_lost = max(most_lost, len(steps) - saved)
        lab.compare(workdir)
        if saving(workdir) or len(completed(workdir)) > 2:
            raise DrillError(f"left behind: {[path.name for path in saving(workdir)]}")
        if kills >= wanted:
            break
    figures = {"runs": number, "kills_in_a_save": in_save, "most_steps_lost": most_lost}
    # The save of step n continues during the following steps; that of step n + EVERY, which begins
    # after its step is logged, waits for it.
    if most_lost > 2 * EVERY:
        raise DrillError(f"{most_lost} steps lost, saved every {EVERY}")
    return f"{number} runs end bit-equal", figures


def preempt(lab: Lab, times: int = 8) -> Iterator[Row]:
    """Send SIGTERM: the run saves and exits with 143, and can be continued bit-equal."""

    def compiling(run: Run, *_: Any) -> bool:
        return run.until(run.prepared) and not time.sleep(2.0)

    def evaluating(run: Run, *_: Any) -> bool:
        # The line of step 9 is written during step 10, which is evaluated afterwards.
        return run.until(lambda: 9 in logged_steps(run.workdir)) and not time.sleep(1.0)

    def starting(run: Run, *_: Any) -> bool:
        return run.until(lambda: run.age > 0.5)

    held_out = {"data.eval_manifest": lab.manifest, "evaluate.every": 10, "evaluate.batches": 60}
    cases: tuple[tuple[str, int, Moment, dict[str, Any]], ...] = (
        ("SIGTERM at any moment", times, at_random, {}),
        ("SIGTERM during a save", 3, in_mid_save, {}),
        ("SIGTERM during an evaluation", 1, evaluating, held_out),
        ("SIGTERM while the step compiles", 1, compiling, {}),
        ("SIGTERM 0.5 s after the start", 1, starting, {}),
        ("SIGTERM twice", 3, in_mid_save, {}),
        ("SIGTERM to all processes, 2 readers", 2, in_mid_save, {"data.workers": 2}),
    )
    for fault, count, moment, settings in cases:
        yield attempt("preempt", fault, _preempt, lab, fault, count, moment, settings, trials=count)


def _preempt(lab: Lab, fault: str, wanted: int, moment: Moment, settings: dict[str, Any]) -> Result:
    dice, clock, codes = random.Random(f"{lab.seed} {fault}"), [], []
    while len(clock) < wanted:
        workdir = lab.new("preempt")
        if "compiles" in fault:
            lab.forget_compiled()
        run = lab.start(workdir, **settings)
        if not moment(run, lab, dice):
            continue  # the run was finished before
        began, prepared = time.monotonic(), run.prepared()
        if "all processes" in fault:
            os.killpg(run.process.pid, signal.SIGTERM)
        else:
            run.process.send_signal(signal.SIGTERM)
        if "twice" in fault:
            time.sleep(dice.uniform(0.0, 1.5))
            if run.code is None:
                run.process.send_signal(signal.SIGTERM)
        code = run.wait()
        clock.append(round(time.monotonic() - began, 1))
        codes.append(code)
        if code == 143:
            steps, saved = logged_steps(workdir)[-1], max(completed(workdir))
            if steps != saved:
                raise DrillError(f"step {saved} was saved after {steps} steps")
        elif code != 0 and (prepared or code != -signal.SIGTERM):
            raise DrillError(f"exit status {code}: {run.last_line()}")
        lab.finish(workdir, **settings)
        lab.compare(workdir, metrics=not any(name.startswith("evaluate") for name in settings))
        trained = [line for line in read_metrics(workdir) if "loss" in line]
        if [line["step"] for line in trained] != list(range(1, len(trained) + 1)):
            raise DrillError("steps are missing or repeated in metrics.jsonl")
    figures = {"exit_statuses": codes, "seconds_to_exit": clock, "longest_seconds": max(clock)}
    return "saves, continues, bit-equal", figures


def suspend(lab: Lab, seconds: tuple[float, ...] = (20.0, 120.0)) -> Iterator[Row]:
    """Send SIGSTOP, and SIGCONT later, as on a closed laptop or a migrated machine."""
    for pause in seconds:
        yield attempt("suspend", f"SIGSTOP for {pause:.0f} s", _suspend, lab, pause)


def _suspend(lab: Lab, seconds: float) -> Result:
    workdir = lab.new("suspend")
    run = lab.start(workdir)
    if not in_mid_save(run, lab, random.Random(lab.seed)):
        raise DrillError(f"the run ended before the fault: {run.last_line()}")
    os.killpg(run.process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.killpg(run.process.pid, signal.SIGCONT)
    if run.wait() != 0:
        raise DrillError(f"exit status {run.code}: {run.last_line()}")
    lab.compare(workdir)
    return "continues, bit-equal", {}


def worker(lab: Lab, times: int = 4) -> Iterator[Row]:
    """Send kill -9 to a reader process: the run stops with an error line and can be continued."""
    yield attempt("worker", "kill -9 of 1 of 2 readers", _worker, lab, times, trials=times)


def _worker(lab: Lab, times: int) -> Result:
    dice, clock, readers_of = random.Random(lab.seed), [], {"data.workers": 2}
    while len(clock) < times:
        workdir = lab.new("worker")
        run = lab.start(workdir, **readers_of)
        if not in_mid_save(run, lab, dice):
            continue
        readers = run.readers()
        dice.choice(readers).kill()
        began = time.monotonic()
        error = run.error("reader process", "SIGKILL", "same command continues", status=1)
        clock.append(round(time.monotonic() - began, 1))
        if psutil.wait_procs(readers, timeout=60)[1]:
            raise DrillError("the other reader process is still alive")
        lab.finish(workdir, **readers_of)
        lab.compare(workdir)
    figures = {"error": error, "seconds_to_exit": clock, "longest_seconds": max(clock)}
    return "stops with an error line (status 1); continues bit-equal", figures
