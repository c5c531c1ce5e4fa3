"""Times two sides in alternation, so that other load on the machine affects both."""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import jax


def alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each run of two functions that alternate, after one uncounted run of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for run, kept in zip((first, second), times, strict=True):
            began = time.perf_counter()
            run()
            if repeat:
                kept.append(time.perf_counter() - began)
    return times


def compare(times: tuple[list[float], list[float]], seconds: float) -> dict[str, float]:
    """Seconds of audio per second of both sides, and the ratio of ours to theirs.

    Args:
        times: seconds of each run, theirs first, as returned by `alternate`.
        seconds: seconds of audio in a run.
    """
    theirs, ours = times
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {
        "torch": round(seconds / statistics.median(theirs), 2),
        "ours": round(seconds / statistics.median(ours), 2),
        "ratio": round(statistics.median(each), 2),
        "ratio_low": round(min(each), 2),
        "ratio_high": round(max(each), 2),
    }


def device_name() -> str:
    """The accelerator's name, or the CPU's with the number of cores this process may use."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.processor()}, {cores} cores"
