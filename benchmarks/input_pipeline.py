"""Compares the speed of our loader with torch's DataLoader and soundfile, in the same run.

    python benchmarks/input_pipeline.py --speech FOLDER --out benchmarks/results/input_pipeline.json

The clips are stored as FLAC, Ogg Opus, WAV and packed ArrayRecord. Both sides read the same rows of
the same batch plan into padded batches of the same samples (this is checked), with every number of
worker processes in --workers; our loader has its default of four threads per process. Windows of
--seconds of CPU time of the whole process tree alternate (ours, theirs, theirs, ours, ...), so that
other load on the machine affects both. A window starts and ends with full read-ahead buffers and
idle processes. Files are in the page cache. The peers are:

    flac, opus, wav    soundfile in the Dataset, seeking to the crop, int16 or float32, whichever
                       is faster for the format
    array_record       the same DataLoader on the FLAC files
    array_record_torch DataLoader with our record reader in the Dataset

Then memory is measured: of the loader over --memory_rows very short clips, and of a plan of
--plan_rows clips. It needs torch; see tests/requirements-oracles.txt.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import soundfile
from input_memory import RATE, config_of, memory_of_plan, memory_of_rows, ours, pack, write_manifest
from process_tree import cpu_seconds, settle

from uniwav_jax.audio.reader import read_audio
from uniwav_jax.data.packed import PackedReader
from uniwav_jax.data.plan import BatchPlan

FORMATS = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS"), "wav": ("WAV", "PCM_16")}
# {case: (our form, their form, their sample type, which is the faster one of soundfile)}
CASES = {
    "flac": ("flac", "flac", "int16"),
    "opus": ("opus", "opus", "float32"),
    "wav": ("wav", "wav", "int16"),
    "array_record": ("array_record", "flac", "int16"),
    "array_record_torch": ("array_record", "array_record", "int16"),
}
HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speech", required=True, help="folder of audio files")
    parser.add_argument("--hours", type=float, default=1.0, help="hours of speech to use")
    parser.add_argument("--parts", default="speed,memory")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--workers", default="0,1,2", help="numbers of worker processes")
    parser.add_argument("--batch_seconds", type=float, default=256.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU seconds of a window")
    parser.add_argument("--repeats", type=int, default=4, help="windows of each side")
    parser.add_argument("--memory_rows", type=int, default=1_000_000)
    parser.add_argument("--plan_rows", type=int, default=3_000_000)
    parser.add_argument("--out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        result = about() | {"batch_seconds": args.batch_seconds, "seconds": args.seconds}
        result["speech_hours"] = round(prepare(folder, pathlib.Path(args.speech), args.hours), 3)
        if "speed" in args.parts:
            result["speed"] = [
                compare(folder, case, int(workers), args)
                for case in args.cases.split(",")
                for workers in args.workers.split(",")
            ]
            result["best"] = best(result["speed"])
            for case, figures in result["best"].items():
                print(f"best of each, {case}: {figures}")
        if "memory" in args.parts:
            workers = [int(number) for number in args.workers.split(",")]
            result["memory"] = memory_of_rows(folder, args.memory_rows, workers)
            result["plan"] = memory_of_plan(folder, args.plan_rows)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def about() -> dict[str, Any]:
    """Processor, versions, command and commit."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True)
    packages = ("grain", "array_record", "soundfile", "miniaudio", "torch", "numpy")
    return {
        "cpu": f"{names[0] if names else platform.processor()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "libsndfile": soundfile.__libsndfile_version__,
        "command": "python " + " ".join(sys.argv),
        "commit": git.stdout.strip(),
    }


def prepare(folder: pathlib.Path, speech: pathlib.Path, hours: float) -> float:
    """Write the clips in every format to FORMAT/ and array_record/; returns their hours."""
    files = (p for p in sorted(speech.rglob("*")) if p.suffix in (".flac", ".wav", ".opus", ".ogg"))
    lines = {name: [] for name in FORMATS}
    for name in FORMATS:
        (folder / name).mkdir()
    total = 0
    for number, file in enumerate(files):
        audio = read_audio(str(file), sample_rate=RATE)
        total += len(audio)
        for name, (kind, subtype) in FORMATS.items():
            path = folder / name / f"{number:06d}.{name}"
            soundfile.write(path, audio, RATE, format=kind, subtype=subtype)
            lines[name].append(f"{path}\t{len(audio)}\t{RATE}\n")
        if total >= hours * 3600 * RATE:
            break
    for name in FORMATS:
        write_manifest(folder / name / "manifest.tsv", lines[name])
    pack(folder / "flac/manifest.tsv", folder / "array_record")
    return total / RATE / 3600


class Clips:
    """The peer's Dataset: a row is (path or record number, start, samples, bucket)."""

    def __init__(self, dtype: str, packed: str = "") -> None:
        self._dtype, self._packed, self._reader = dtype, packed, None

    def __getitem__(self, row: tuple[Any, int, int, int]) -> tuple[np.ndarray, int]:
        clip, start, samples, bucket = row
        if self._packed:
            self._reader = self._reader or PackedReader(self._packed)
            return self._reader.speech(clip)[start : start + samples], bucket
        with soundfile.SoundFile(clip) as file:
            if start:
                file.seek(start)
            return file.read(samples, dtype=self._dtype), bucket


def collate(rows: list[tuple[np.ndarray, int]]) -> dict[str, Any]:
    import torch

    audio = torch.zeros(len(rows), rows[0][1], dtype=getattr(torch, str(rows[0][0].dtype)))
    for place, (wave, _) in enumerate(rows):
        audio[place, : len(wave)] = torch.from_numpy(wave)
    return {"audio": audio, "samples": torch.tensor([len(wave) for wave, _ in rows])}


class Sampler:
    """Repeats the plan's first batches, which are computed beforehand so that they cost no time."""

    def __init__(self, plan: BatchPlan, batches: int) -> None:
        manifest = plan.corpora[0]
        name = (lambda clip: clip) if manifest.packed else manifest.path
        self._batches = []
        for number in range(batches):
            b = plan[number]
            rows = zip(b.clip.tolist(), b.start.tolist(), b.samples.tolist(), strict=True)
            self._batches.append([(name(clip), *crop, b.bucket) for clip, *crop in rows])

    def __iter__(self) -> Iterator[list[tuple]]:
        return itertools.cycle(self._batches)


def theirs(plan: BatchPlan, dtype: str, workers: int) -> Iterator[dict[str, Any]]:
    import torch

    packed = plan.corpora[0].folder if plan.corpora[0].packed else ""
    return iter(
        torch.utils.data.DataLoader(
            Clips(dtype, packed),
            batch_sampler=Sampler(plan, 100),
            num_workers=workers,
            collate_fn=collate,
            multiprocessing_context="fork" if workers else None,  # starts faster
        )
    )


class Window(NamedTuple):
    """Work of one side: hours of audio, of elapsed time and of processor time."""

    audio: float
    wall: float
    cpu: float


def measure(loader: Iterator[dict[str, Any]], seconds: float) -> Window:
    """Read batches for `seconds` of CPU time, then wait until read-ahead buffers are full again."""
    cpu, _ = settle()
    began, samples = time.perf_counter(), 0
    while cpu_seconds() - cpu < seconds:
        samples += int(next(loader)["samples"].sum())
        if time.perf_counter() - began > 60 * (1 + seconds):
            raise RuntimeError(f"only {cpu_seconds() - cpu:.2f} s of CPU time in a minute or more")
    asked = time.perf_counter()
    cpu_end, since = settle()
    seconds = (samples / RATE, max(since, asked) - began, cpu_end - cpu)
    return Window(*(s / 3600 for s in seconds))


def compare(
    folder: pathlib.Path, case: str, workers: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Hours of audio per hour and per core-hour of both sides, and their ratios."""
    our_form, their_form, dtype = CASES[case]
    config, their_config = (
        config_of(folder / form, batch_seconds=args.batch_seconds, workers=workers)
        for form in (our_form, their_form)
    )
    cache = str(folder / "cache")
    plan, their_plan = BatchPlan(config, cache), BatchPlan(their_config, cache)
    their_loader, loader = theirs(their_plan, dtype, workers), ours(config, plan)
    try:
        for _ in range(3):
            check_equal(next(loader), next(their_loader), exact=case != "opus")
        sides = {"ours": loader, "theirs": their_loader}
        windows: dict[str, list[Window]] = {name: [] for name in sides}
        for side in sides.values():
            measure(side, args.seconds / 4)
        for repeat in range(args.repeats):
            for name in ("ours", "theirs") if repeat % 2 == 0 else ("theirs", "ours"):
                windows[name].append(measure(sides[name], args.seconds))
    finally:
        loader.close()
    row: dict[str, Any] = {"case": case, "workers": workers}
    for unit in ("wall", "cpu"):
        rates = {n: [w.audio / getattr(w, unit) for w in ws] for n, ws in windows.items()}
        ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
        row[unit] = {name: round(statistics.median(values)) for name, values in rates.items()}
        row[unit] |= {"ratio": round(statistics.median(ratios), 2)}
        row[unit] |= {"ratio_low": round(min(ratios), 2), "ratio_high": round(max(ratios), 2)}
    print(f"{case} with {workers} workers: {row['wall']} per hour, {row['cpu']} per core-hour")
    sys.stdout.flush()
    return row


def check_equal(our: dict[str, Any], their: dict[str, Any], *, exact: bool) -> None:
    """Raise unless both batches have the same samples; after a seek in lossy audio, nearly."""
    audio = their["audio"].numpy()
    audio = audio * 32768.0 if audio.dtype == np.float32 else audio.astype(float)
    assert (our["samples"] == their["samples"].numpy()).all()
    difference = np.abs(our["audio"] - audio)
    assert difference.max() == 0 if exact else np.median(difference.max(1)) <= 0.5, difference


def best(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of each side with the number of workers that is best for it."""
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        for unit in ("wall", "cpu"):
            figures = table.setdefault(row["case"], {}).setdefault(unit, {"ours": 0, "theirs": 0})
            for side in ("ours", "theirs"):
                figures[side] = max(figures[side], row[unit][side])
            figures["ratio"] = round(figures["ours"] / figures["theirs"], 2)
    return table


if __name__ == "__main__":
    main()
