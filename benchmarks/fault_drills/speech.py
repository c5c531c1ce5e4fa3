"""Drills with damaged packed shards, and with NaN in audio or gradients."""

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np
import soundfile

from fault_drills import files
from fault_drills.lab import (
    REPOSITORY,
    STEPS,
    DrillError,
    Lab,
    Result,
    Row,
    Run,
    attempt,
    completed,
    differences,
    read_metrics,
    state_of,
)

EVEN_WITH = {"data.max_bad_fraction": 1.0, "checkpoint.every": 1000}
# The training program, with NaN in the features' statistics during the given updates.
POISONED = """
import sys
import jax.numpy as jnp
from absl import app
from uniwav_jax import main
from uniwav_jax.train import step

make, first, last = step.make_train_step, int(sys.argv.pop(1)), int(sys.argv.pop(1))

def poisoned(*args):
    update = make(*args)
    def call(state, batch):
        if not first <= int(state.step) + 1 <= last:
            return update(state, batch)
        features = dict(state.frozen["features"])
        mean = jnp.copy(features["mean"])
        with_nan = state.replace(frozen={"features": {**features, "mean": mean + jnp.nan}})
        state, metrics = update(with_nan, batch)
        restored = {**state.frozen["features"], "mean": mean}
        return state.replace(frozen={"features": restored}), metrics
    return call

step.make_train_step = poisoned
app.run(main.main, flags_parser=main.parse_flags)
"""
READ_ALL = """
import sys
import numpy as np
from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.data import manifest, sources
rows = manifest.load(sys.argv[1], cache=sys.argv[2])
reader = sources.ClipReader(rows, sample_rate=16000)
clips = {}
for row in range(len(rows)):
    try:
        clips[str(row)] = reader.read(row, start=0, samples=10**7)
    except BadAudioError:
        pass
np.savez(sys.argv[3], **clips)
"""


def record(lab: Lab) -> Iterator[Row]:
    """Damage shards or descriptions of a packed corpus."""
    packed = lab.folder / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    tool = [sys.executable, REPOSITORY / "tools" / "pack_array_record.py", lab.manifest]
    subprocess.run(
        [*map(str, tool), "--out", str(packed), "--shard_seconds", "20"],
        check=True,
        env={"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )
    shard = min(path.name for path in packed.glob("*.array_record-*"))
    for file, how in (
        *((shard, how) for how in ("half", "empty", "garbled", "deleted", "end garbled")),
        ("dataset_info.json", "half"),
        ("dataset_info.json", "deleted"),
        ("features.json", "half"),
        ("manifest.tsv", "half"),
    ):
        fault = f"{'shard' if file == shard else file}: {how}"
        yield attempt("record", fault, _packed, lab, packed, file, how)
    bits = "one bit of a shard flipped"
    yield attempt("record", bits, _flipped, lab, packed, shard, 40, trials=40)


def _packed(lab: Lab, packed: pathlib.Path, file: str, how: str) -> Result:
    """Damage a file; the run must end with an error line, or leave out, count and name clips."""
    damaged = lab.folder / "packed_damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(packed, damaged)
    if how == "end garbled":
        content = (damaged / file).read_bytes()
        (damaged / file).write_bytes(content[:-64] + bytes(64))
    else:
        files.damage(damaged / file, how, seed=lab.seed)
    return _bad_data(lab, damaged)


def _bad_data(lab: Lab, manifest: pathlib.Path) -> Result:
    """Train on bad clips with the default limit, and again with any number of them allowed."""
    workdir, figures = lab.new("bad_data"), {}
    run = lab.start(workdir, **{"data.manifest": manifest})
    if run.wait() == 0:
        outcome = _counted(workdir)
    else:
        figures["error"] = run.error(str(lab.folder)).replace(str(lab.folder), "FOLDER")
        outcome = "stops with an error line"
        if "config.data.max_bad_fraction" in figures["error"]:
            workdir = lab.new("bad_data")
            allowed = lab.start(workdir, **{"data.manifest": manifest, **EVEN_WITH})
            if allowed.wait() == 0:
                outcome += f"; if that many are allowed: {_counted(workdir)}"
            else:
                raise DrillError(f"exit status {allowed.code}: {allowed.last_line()}")
    return outcome, figures


def _counted(workdir: pathlib.Path) -> str:
    bad = sum(line["bad_rows"] for line in read_metrics(workdir) if "bad_rows" in line)
    named = len((workdir / "bad_files.tsv").read_text().splitlines()) - 1 if bad else 0
    if bad and not named:
        raise DrillError(f"none of {bad} bad rows is named")
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state_of(workdir))):
        raise DrillError("the final state is not finite")
    return f"continues without them ({bad} rows of {named} clips counted and named)"


def _flipped(lab: Lab, packed: pathlib.Path, shard: str, times: int) -> Result:
    """Flip single bits; each reading is a separate process, so that an abort is detected."""
    damaged, out = lab.folder / "packed_damaged", lab.folder / "clips.npz"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(packed, damaged)

    def read() -> dict[str, np.ndarray]:
        command = [sys.executable, "-c", READ_ALL, damaged, lab.folder / "cache", out]
        done = subprocess.run(
            list(map(str, command)),
            env={"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise DrillError(f"exit status {done.returncode}: {done.stderr[-300:]}")
        with np.load(out) as clips:
            return dict(clips)

    whole, found = read(), {"detected": 0, "unused_bytes": 0, "silent": 0}
    dice = np.random.default_rng(lab.seed)
    for _ in range(times):
        place = int(dice.integers((damaged / shard).stat().st_size))
        files.flip(damaged / shard, place, bit := int(dice.integers(8)))
        clips = read()
        if any(not np.array_equal(clips[row], whole[row]) for row in clips):
            found["silent"] += 1
        else:
            found["detected" if len(clips) < len(whole) else "unused_bytes"] += 1
        files.flip(damaged / shard, place, bit)
    outcome = f"{found['detected']} detected, {found['unused_bytes']} in unused bytes"
    if found["silent"]:
        raise DrillError(f"some damage was not detected: {found}")
    return outcome, found


def nan(lab: Lab) -> Iterator[Row]:
    """Put NaN into the file of one clip, into all clips, and into one update or all of them."""
    yield attempt("nan", "NaN in one of the clips", _nan_clip, lab)
    yield attempt("nan", "NaN in every clip", _nan_everywhere, lab)
    yield attempt("nan", "NaN in one update", _nan_update, lab)
    yield attempt("nan", "NaN in every update", _nan_updates, lab)


def _copy(lab: Lab, damage: Callable[[pathlib.Path], None], *, one: bool) -> pathlib.Path:
    """The manifest of a copy of the corpus, whose first clip or all clips are damaged."""
    folder = lab.folder / "damaged_clips"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    header, *lines = lab.manifest.read_text().splitlines()
    for number, line in enumerate(lines):
        path, *rest = line.split("\t")
        clip = folder / pathlib.Path(path).name
        shutil.copy(lab.manifest.parent / path, clip)
        lines[number] = "\t".join([clip.name, *rest])
        if number == 0 or not one:
            damage(clip)
    (folder / "manifest.tsv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "manifest.tsv"


def _with_nan(clip: pathlib.Path) -> None:
    audio, rate = soundfile.read(clip, dtype="float32")
    audio[:: rate // 10] = np.nan  # so that each crop has one
    soundfile.write(clip, audio, rate, subtype="FLOAT", format="WAV")


def _nan_clip(lab: Lab) -> Result:
    """A clip with NaN must have the same effect as a missing clip, to the last bit."""
    states = []
    for damage in (_with_nan, pathlib.Path.unlink):
        manifest, workdir = _copy(lab, damage, one=True), lab.new("nan")
        lab.finish(workdir, **{"data.manifest": manifest, "data.max_bad_fraction": 0.5})
        states.append(state_of(workdir))
        outcome = _counted(workdir)
    if changed := differences(*states):
        raise DrillError(f"the result differs from that without the file: {changed}")
    return f"{outcome}; equal to the run without the file, to the last bit", {}


def _nan_everywhere(lab: Lab) -> Result:
    manifest, workdir = _copy(lab, _with_nan, one=False), lab.new("nan")
    error = lab.start(workdir, **{"data.manifest": manifest}).error("NaN", "uniwav data check")
    error = error.replace(str(lab.folder), "FOLDER")
    return "stops with an error line", {"error": error}


def _poisoned(lab: Lab, workdir: pathlib.Path, first: int, last: int, **settings: object) -> Run:
    command = lab.command(workdir, **settings)
    begin = command.index("-m")
    command[begin : begin + 2] = ["-c", POISONED, str(first), str(last)]
    return lab.start_command(command, workdir)


def _nan_update(lab: Lab) -> Result:
    """Update 13 must change only the counters."""
    workdir = lab.new("nan")
    every = {"checkpoint.every": 1, "checkpoint.keep": 1000}
    run = _poisoned(lab, workdir, 13, 13, **every)
    if run.wait() != 0 or "update 13 was not finite and was skipped" not in run.output():
        raise DrillError(f"exit status {run.code}: {run.last_line()}")
    changed = differences(state_of(workdir, 13), state_of(workdir, 12))
    if changed != ["['skipped']", "['step']"]:
        raise DrillError(f"update 13 changed {changed}")
    if differences(state_of(workdir, 10), state_of(lab.reference, 10)):
        raise DrillError("the previous updates differ from the reference")
    counts = state_of(workdir)["skipped"].tolist()
    if counts != [1, 0]:
        raise DrillError(f"the counters are {counts}")
    return "skipped and counted, and nothing else changed", {}


def _nan_updates(lab: Lab) -> Result:
    """The run must stop, and its saves after update 12 must have the same arrays."""
    workdir = lab.new("nan")
    settings = {"train.max_skipped": 20, "checkpoint.keep": 1000}
    run = _poisoned(lab, workdir, 13, STEPS, **settings)
    figures = {"error": run.error("20 updates in a row gave NaN or infinity")}
    last = max(completed(workdir))
    changed = differences(state_of(workdir, last), state_of(workdir, 15))
    if last <= 15 or changed != ["['skipped']", "['step']"]:
        raise DrillError(f"the state after update {last} differs in {changed}")
    return "stops with an error line; the last saved state is unaffected", figures
