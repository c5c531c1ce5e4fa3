"""Drills with truncated, garbled or deleted checkpoint files, and with full disks."""

import contextlib
import os
import pathlib
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator

from fault_drills.lab import (
    EVERY,
    PARTS,
    STEPS,
    DrillError,
    Lab,
    Result,
    Row,
    attempt,
    checkpoint_of,
    completed,
    differences,
    state_of,
)
from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError

# {kind of file in a checkpoint: pattern}; of several files the largest is damaged.
KINDS = {
    "array data": "state/ocdbt.process_0/d/*",
    "array index": "state/d/*",
    "OCDBT manifest": "state/manifest.ocdbt",
    "OCDBT manifest of a process": "state/ocdbt.process_0/manifest.ocdbt",
    "tree metadata": "state/_METADATA",
    "shardings": "state/_sharding",
    "array metadata": "state/array_metadatas/process_0",
    "meta": "meta/metadata",
    "step metadata": "_CHECKPOINT_METADATA",
    "commit marker": "commit_success.txt",
    "commit marker of the state": "state/commit_success.txt",
}
NEWEST, BEFORE = 50, 45  # steps of the checkpoints at the start of a drill


def damage(file: pathlib.Path, how: str, *, seed: int = 0) -> None:
    """Cut a file in half, empty, garble or delete it, or flip one bit in its middle."""
    content, dice = file.read_bytes(), random.Random(seed)
    if how == "deleted":
        file.unlink()
    elif how == "one bit flipped":
        flip(file, len(content) // 2)
    else:
        kept = {"half": content[: len(content) // 2], "empty": b""}
        file.write_bytes(kept.get(how, dice.randbytes(len(content))))


def flip(file: pathlib.Path, place: int, bit: int = 4) -> None:
    """Change one bit of a file."""
    with file.open("r+b") as stream:
        stream.seek(place)
        (value,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([value ^ (1 << bit)]))


def truncate(lab: Lab) -> Iterator[Row]:
    """Cut, empty and garble files of the newest checkpoint, and flip bits in its arrays."""
    for kind in KINDS:
        for how in ("half", "empty", "garbled"):
            yield attempt("truncate", f"{kind}: {how}", _damaged, lab, kind, how)
    yield attempt("truncate", "one bit of the array files flipped", _flips, lab, 200, trials=200)


def delete(lab: Lab) -> Iterator[Row]:
    """Delete files of the newest checkpoint, all its files, or half of the previous one."""
    for kind in KINDS:
        yield attempt("delete", kind, _damaged, lab, kind, "deleted")
    yield attempt("delete", "everything in the newest checkpoint", _emptied, lab)
    yield attempt("delete", "half of the checkpoint before", _older, lab)


def _damaged(lab: Lab, kind: str, how: str) -> Result:
    workdir = lab.new("damaged", (BEFORE, NEWEST))
    folder = checkpoint_of(workdir, NEWEST)
    files = sorted(folder.glob(KINDS[kind]), key=lambda file: (file.stat().st_size, file.name))
    if not files:
        raise DrillError(f"a checkpoint has no {KINDS[kind]}: the drill is out of date")
    damage(files[-1], how, seed=lab.seed)
    return _restart(lab, workdir, advised=how in ("half", "deleted"))


def _restart(lab: Lab, workdir: pathlib.Path, *, advised: bool) -> Result:
    """Restart a run; it must end bit-equal, or with an error line.

    With `advised`, the advice of the error line is followed, which must lead to a bit-equal end.
    """
    run = lab.start(workdir)
    if run.wait() == 0:
        lab.compare(workdir)
        return f"resumes at {run.resumed()}, bit-equal", {}
    folder = checkpoint_of(workdir, NEWEST)
    error = run.error(str(folder), "delete that folder", f"continue from step {BEFORE}")
    outcome = "stops with an error line"
    if advised:
        shutil.rmtree(folder)
        run = lab.finish(workdir)
        if run.resumed() != BEFORE:
            raise DrillError(f"resumed at {run.resumed()}")
        lab.compare(workdir)
        outcome += f"; its advice followed: resumes at {BEFORE}, bit-equal"
    error = error.replace(str(workdir), "WORKDIR")
    return outcome, {"error": error, "steps_lost": EVERY}


def _flips(lab: Lab, times: int) -> Result:
    """Flip single bits of the array files, and read the checkpoint after each of them."""
    folder = checkpoint_of(lab.new("flipped", (NEWEST,)), NEWEST)
    whole, dice = state_of(lab.reference, NEWEST), random.Random(lab.seed)
    files = sorted(file for file in folder.glob("state/**/d/*") if file.is_file())
    found = {"detected": 0, "unused_bytes": 0, "silent": 0}
    for _ in range(times):
        file = dice.choices(files, [file.stat().st_size for file in files])[0]
        place, bit = dice.randrange(file.stat().st_size), dice.randrange(8)
        flip(file, place, bit)
        try:
            state = reader.open(folder).arrays(*PARTS)
            found["silent" if differences(state, whole) else "unused_bytes"] += 1
        except UserError:
            found["detected"] += 1
        flip(file, place, bit)
    outcome = f"{found['detected']} detected, {found['unused_bytes']} in unused bytes"
    if found["silent"]:
        raise DrillError(f"some damage was not detected: {found}")
    return outcome, found


def _emptied(lab: Lab) -> Result:
    workdir = lab.new("damaged", (BEFORE, NEWEST))
    shutil.rmtree(checkpoint_of(workdir, NEWEST))
    checkpoint_of(workdir, NEWEST).mkdir()
    return _restart(lab, workdir, advised=True)


def _older(lab: Lab) -> Result:
    """Imitate a kill while an old checkpoint is being removed."""
    workdir = lab.new("damaged", (BEFORE, NEWEST))
    shutil.rmtree(checkpoint_of(workdir, BEFORE) / "state")
    run = lab.finish(workdir, **{"checkpoint.keep": 2})
    lab.compare(workdir)
    if completed(workdir) != [STEPS - EVERY, STEPS]:
        raise DrillError(f"checkpoints are now {completed(workdir)}")
    return f"resumes at {run.resumed()}, bit-equal", {}


def disk(lab: Lab) -> Iterator[Row]:
    """Let the disk fill up, become read-only, or limit the size of files."""
    if os.geteuid() == 0:
        for fault, settings in (
            ("full while a checkpoint is written", {}),
            ("full while metrics are written", {"checkpoint.every": 1000}),
            ("checkpoints become read-only", {}),
        ):
            yield attempt("disk", fault, _small_disk, lab, fault, settings)
    yield attempt("disk", "files limited to 64 KiB", _limited, lab)
    yield attempt("disk", "workdir below a file", _not_a_folder, lab)


@contextlib.contextmanager
def _mounted(folder: pathlib.Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _small_disk(lab: Lab, fault: str, settings: dict[str, int]) -> Result:
    """Put the workdir on a separate disk, which fails after step 12; the last save is at 10."""
    workdir = lab.new("disk")
    (workdir / "checkpoints").rmdir()
    with _mounted(workdir, "64m"):
        (workdir / "checkpoints").mkdir()
        for step in (5, 10):
            shutil.copytree(checkpoint_of(lab.reference, step), checkpoint_of(workdir, step))
        shutil.copy(lab.reference / "metrics.jsonl", workdir)
        run = lab.start(workdir, **settings)
        if not run.until(lambda: "step 12/" in run.output()):
            raise DrillError(f"the run ended early: {run.last_line()}")
        newest = max(completed(workdir))
        with _failing(workdir, fault):
            error = run.error(str(workdir), "the same command continues")
        kept = completed(workdir)
        if newest not in kept:
            raise DrillError(f"checkpoint {newest} is gone")
        run = lab.finish(workdir)
        lab.compare(workdir)
    error = error.replace(str(workdir), "WORKDIR")
    outcome = f"stops with an error line; with room resumes at {run.resumed()}, bit-equal"
    if run.resumed() != max(kept):
        raise DrillError(f"{max(kept)} was saved, resumed at {run.resumed()}")
    return outcome, {"error": error}


@contextlib.contextmanager
def _failing(workdir: pathlib.Path, fault: str) -> Iterator[None]:
    """Fill the disk, or make the checkpoints' folder read-only."""
    folder, filler = workdir / "checkpoints", workdir / "filler"
    if "read-only" in fault:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    else:
        room = 0 if "metrics" in fault else 100_000  # bytes; less than a checkpoint needs
        with contextlib.suppress(OSError):  # the run writes at the same time
            filler.write_bytes(bytes(shutil.disk_usage(workdir).free - room))
    try:
        yield
    finally:
        if "read-only" in fault:
            subprocess.run(["umount", "--lazy", folder], check=True)
        filler.unlink(missing_ok=True)


def _limited(lab: Lab) -> Result:
    """Limit the size of files, so that a write fails as on a full disk; this needs no root."""
    workdir = lab.new("disk", (5, 10))
    with limited_files(64 * 1024):
        error = lab.start(workdir).error("checkpoint", str(workdir), "the same command continues")
    if completed(workdir) != [5, 10]:
        raise DrillError(f"checkpoints are now {completed(workdir)}")
    lab.finish(workdir)
    lab.compare(workdir)
    error = error.replace(str(workdir), "WORKDIR")
    outcome = "stops with an error line; without the limit resumes at 10, bit-equal"
    return outcome, {"error": error}


@contextlib.contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Processes that are started inside cannot write files of more than `size` bytes (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _not_a_folder(lab: Lab) -> Result:
    file = lab.folder / "a_file"
    file.write_text("")
    error = lab.start(file / "run").error(str(file))
    return "stops with an error line", {"error": error.replace(str(lab.folder), "FOLDER")}
