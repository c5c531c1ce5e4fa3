"""Processor time and memory of this process and all its descendants, from /proc."""

import os
import pathlib
import threading
import time


def settle(quiet: float = 0.2, limit: float = 10.0) -> tuple[float, float]:
    """Wait until no process of the tree works.

    The cost of looking is subtracted, because with many threads it alone would count as work. After
    `limit` seconds a note is printed and the function returns.

    Args:
        quiet: seconds without work that are required.
        limit: maximum of seconds to wait.

    Returns:
        CPU seconds of the tree, and the time (`time.perf_counter`) since which it has been idle.
    """
    began = time.perf_counter()
    total, looked, since = cpu_seconds(), time.thread_time(), began
    while (now := time.perf_counter()) - since < quiet:
        if now - began > limit:
            print(f"still busy after {limit:.0f} s; the figures contain other work", flush=True)
            break
        time.sleep(0.04)
        work = cpu_seconds() - total - (time.thread_time() - looked)
        if running() or work > 0.02:  # two ticks of /proc's clock
            total, looked, since = cpu_seconds(), time.thread_time(), time.perf_counter()
    return total, since


def processes() -> list[int]:
    """Ids of this process and all its descendants."""
    found = [os.getpid()]
    for pid in found:  # the list grows during the loop
        for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def running() -> bool:
    """Whether any other thread of the tree has work, including those that wait for a processor."""
    tasks = (t for pid in processes() for t in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
    me = str(threading.get_native_id())
    return any(status(task)[0] in "RD" for task in tasks if task.parent.name != me)


def cpu_seconds() -> float:
    """Processor seconds of the tree so far."""
    fields = [status(pathlib.Path(f"/proc/{pid}/stat")) for pid in processes()]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def status(path: pathlib.Path) -> list[str]:
    """Fields after the name in a stat file: 0 is the state, 11 and 12 user and system ticks."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return ["X", *"0" * 13]


def memory() -> tuple[float, float]:
    """Megabytes of the process tree: private memory, and all with mapped files and libraries."""
    private = everything = 0
    for pid in processes():
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = {
            name: int(size.split()[0])
            for name, size in (
                line.split(":") for line in lines if line.startswith(("Rss", "VmRSS"))
            )
        }
        private += sizes["RssAnon"] + sizes["RssShmem"]
        everything += sizes["VmRSS"]
    return private / 1024, everything / 1024
