"""Measures memory for input_pipeline.py: of the loader over a million rows, and of a large plan."""

import itertools
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import soundfile
from process_tree import memory

from uniwav_jax.config import Config, default_config, from_dict
from uniwav_jax.data import pipeline
from uniwav_jax.data.plan import BatchPlan

RATE, MB = 16000, 2**20
HERE = pathlib.Path(__file__).resolve().parent


def write_manifest(path: pathlib.Path, lines: list[str]) -> None:
    path.write_text("path\tsamples\tsample_rate\n" + "".join(lines))


def pack(manifest: pathlib.Path, out: pathlib.Path) -> None:
    tool = [sys.executable, HERE.parent / "tools/pack_array_record.py"]
    subprocess.run([*tool, manifest, "--out", out], check=True, stdout=subprocess.DEVNULL)


def config_of(manifest: pathlib.Path, **data: Any) -> Config:
    config = default_config("tiny")
    packed = (manifest / "dataset_info.json").exists()
    config.data.manifest = str(manifest if packed else manifest / "manifest.tsv")
    config.data.update(data)
    return from_dict(config)


def ours(config: Config, plan: BatchPlan) -> Any:
    """The loader in the configuration that training uses on one host."""
    rows = {bucket: np.arange(count) for bucket, count in plan.rows.items()}
    return pipeline.make_loader(config, plan, host_rows=rows, start=0)


def memory_of_rows(folder: pathlib.Path, rows: int, numbers: list[int]) -> list[dict[str, Any]]:
    """Memory while clips of 0.1 to 0.3 s pass through the loader.

    Args:
        folder: folder with the subfolder flac/.
        rows: number of rows to load.
        numbers: numbers of worker processes to try.
    """
    (folder / "short").mkdir()
    lines = []
    for number, file in enumerate(sorted((folder / "flac").glob("*.flac"))[:64]):
        samples = 1600 + 50 * number
        audio, _ = soundfile.read(file, frames=samples, dtype="int16")
        path = folder / "short" / file.name
        soundfile.write(path, audio, RATE)
        lines.append(f"{path}\t{len(audio)}\t{RATE}\n")
    # A packed corpus of 1/50 of the rows (100 MB for a million) is read repeatedly.
    for name, count in (("short", rows), ("few", max(rows // 50, 1))):
        (folder / name).mkdir(exist_ok=True)
        repeated = itertools.islice(itertools.cycle(lines), count)
        write_manifest(folder / name / "manifest.tsv", list(repeated))
    pack(folder / "few/manifest.tsv", folder / "short_packed")
    table = []
    for form, manifest in (("files", "short"), ("array_record", "short_packed")):
        for workers in numbers:
            figures = in_child("read_rows", str(folder), manifest, rows, workers)
            table.append({"form": form, "workers": workers, **figures})
            print(f"memory: {table[-1]}", flush=True)
    return table


def read_rows(folder: str, manifest: str, rows: int, workers: int) -> dict[str, Any]:
    """Megabytes after 10, 50 and 100 % of the rows, and growth per million rows after 10 %."""
    short = {"buckets": (0.3,), "min_seconds": 0.05, "batch_seconds": 0.3 * min(128, rows // 50)}
    config = config_of(pathlib.Path(folder) / manifest, workers=workers, **short)
    loader = ours(config, BatchPlan(config, f"{folder}/cache"))
    done, seen, began = 0, [], time.perf_counter()
    while done < rows:
        item = next(loader)
        assert not item["bad"].any(), item["problems"]
        done += len(item["bad"])
        if done >= len(seen) * rows / 100:
            seen.append((done, *memory()))
    seconds = time.perf_counter() - began
    loader.close()
    places = {f"{percent}%": seen[min(percent, len(seen) - 1)][1:] for percent in (10, 50, 100)}
    count, private, _ = np.array(seen[10:]).T
    return {
        "rows": done,
        "seconds": round(seconds),
        "private_mb": {place: round(value[0], 1) for place, value in places.items()},
        "rss_mb": {place: round(value[1], 1) for place, value in places.items()},
        "private_mb_per_million_rows": round(np.polyfit(count / 1e6, private, 1)[0], 2),
    }


def memory_of_plan(folder: pathlib.Path, rows: int) -> dict[str, Any]:
    """Seconds and megabytes of a plan of `rows` clips: the first time, and when made again."""
    (folder / "many").mkdir()
    lengths = np.random.default_rng(0).integers(2 * RATE, 35 * RATE, rows).tolist()
    lines = [f"{i % 1000:03d}/{i:08d}.flac\t{n}\t{RATE}\n" for i, n in enumerate(lengths)]
    write_manifest(folder / "many/manifest.tsv", lines)
    figures = {"rows": rows}
    for when in ("first_start", "later_starts"):
        figures[when] = in_child("make_plan", str(folder))
    print(f"plan: {figures}", flush=True)
    return figures


def make_plan(folder: str) -> dict[str, float]:
    config = config_of(pathlib.Path(folder) / "many")
    (private, _), began = memory(), time.perf_counter()
    plan = BatchPlan(config, f"{folder}/cache_many")
    made = time.perf_counter()
    _ = [plan[g] for g in range(100)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(made - began, 2),
        "seconds_100_batches": round(time.perf_counter() - made, 2),
        "private_mb": round(memory()[0] - private, 1),
        "mapped_files_mb": round(
            sum(file.stat().st_size for file in pathlib.Path(f"{folder}/cache_many").iterdir())
            / MB,
            1,
        ),
        "peak_rss_mb": round(peak),
    }


def in_child(function: str, *arguments: Any) -> dict[str, Any]:
    """Call a function of this file in a new process and return its result."""
    program = (
        "import input_memory, json, sys;"
        f"print(json.dumps(input_memory.{function}(*json.loads(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    output = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
