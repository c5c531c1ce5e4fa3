"""A page about one run: facts, curves beside those of reference runs, alarms, and its samples.

    run_page.write("runs/demo", "report.html", references=["other/metrics.jsonl"])

Everything comes from the files of the workdir; neither JAX nor a model is loaded.
"""

import dataclasses
import datetime
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
import soundfile
from etils import epath
from PIL import Image

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import curves, page, plots, report
from uniwav_jax.evaluation.curves import Curves

# (heading, pattern of the names of its metrics); a metric belongs to the first that fits.
GROUPS = (
    ("Speed and data", r"audio_seconds|input_wait|bad_rows|clips"),
    ("Optimisation", r"^lr$|grad_norm|^skipped"),
    ("Losses", r"^loss|commitment|projection"),
    ("Scores and codebooks", r""),
)
ORDER = ("Losses", "Scores and codebooks", "Optimisation", "Speed and data")
COMPARED = r"loss|perplexity|active_codewords|_use$|distance|stoi|pesq|wer$|cer$|grad_norm"
CLIPS, ROWS = 8, 10  # of samples and of a table of texts, at most


@dataclasses.dataclass(frozen=True)
class Run:
    """What a workdir contains.

    Attributes:
        folder: the workdir.
        curves: of its metrics.
        config: the configuration; {} without config.json.
    """

    folder: epath.Path
    curves: Curves
    config: dict[str, Any]

    @property
    def steps(self) -> int:
        """Number of the last update with metrics."""
        return max(int(curve.steps[-1]) for curve in self.curves.values())


def write(workdir: str, out: str, *, references: Sequence[str] = ()) -> None:
    """Write the page of a run.

    Args:
        workdir: of the run, finished or not.
        out: path of the HTML file.
        references: workdirs, metrics.jsonl files, or names of models that ship with the package.
            Without any, it is the model that ships with the package and has the run's
            configuration, if there is one.

    Raises:
        UserError: there are no metrics, a file is damaged, a reference has no metric of the run,
            or the page cannot be written.
    """
    run = Run(epath.Path(workdir), curves.read(workdir), _json(epath.Path(workdir) / "config.json"))
    names = list(references) or _same_config(run.config)
    others = {name: curves.read(curves.reference(name)) for name in names}
    for name, other in others.items():
        if not set(other) & set(run.curves):
            raise UserError(
                f"--reference {name} has no metric of {workdir}; it has {', '.join(sorted(other))}"
            )
    tables = [("Run", list(_facts(run, names))), *_alarms(run), *_comparison(run, others)]
    page.write(
        out,
        title=f"Training report: {run.folder.name}",
        tables=tables,
        figures=[*_plots(run, list(others.values())), *_texts(run), *_pictures(run)],
        clips=_clips(run),
    )
    print(f"wrote {out}")


def _json(path: epath.Path) -> dict[str, Any]:
    """The object in a JSON file; {} if there is no such file.

    Raises:
        UserError: the file has no JSON object.
    """
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is no JSON object; it is not a file of a run") from error


def _same_config(config: dict[str, Any]) -> list[str]:
    """The name of the model that ships and was trained as this run, in a list; [] if none was."""

    def settings(config: dict[str, Any]) -> list[Any]:
        data = config.get("data", {}).get("batch_seconds")
        return [data, *(config.get(group) for group in ("task", "model", "optim", "features"))]

    for path in sorted(curves.INSTALLED.glob("*/metrics.jsonl")):
        description = _json(epath.Path(path.with_name("model.json")))
        if settings(description["config"]) == settings(config):
            return [path.parent.name]
    return []


def _facts(run: Run, references: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of what the files of the run say."""
    config, checkpoint = run.config, _newest_checkpoint(run.folder)
    yield "workdir", str(run.folder)
    if config:
        model = config.get("model", {})
        yield "task", str(config.get("task"))
        yield "model", f"{model.get('size')}, {model.get('compute_dtype')}"
        yield "features", str(config.get("features", {}).get("kind"))
        yield "data", str(config.get("data", {}).get("manifest"))
        if config.get("init_from"):
            yield "started from", str(config["init_from"])
    planned = config.get("train", {}).get("steps")
    yield "updates", f"{run.steps}{f' of {planned}' if planned else ''}"
    seconds, speed = (run.curves.get(f"audio_seconds{end}") for end in ("", "_per_second"))
    if seconds is not None and speed is not None:
        heard, took = np.nansum(seconds.values), np.nansum(seconds.values / speed.values)
        yield "audio", f"{heard:,.0f} s ({heard / 3600:.4g} h), without padding"
        yield "time", f"{took / 3600:.3g} h, {heard / took:.4g} s of audio per second"
    starts = re.findall(r"tfevents\.(\d+)", " ".join(_names(run.folder / "tensorboard")))
    if starts:
        yield "started", _time(min(map(int, starts)))
    if (metrics := run.folder / "metrics.jsonl").exists():
        yield "last metrics", _time(metrics.stat().mtime)
    if checkpoint:
        saved = _json(checkpoint / "_CHECKPOINT_METADATA").get("commit_timestamp_nsecs")
        yield "checkpoint", f"update {checkpoint.name}{f', {_time(saved / 1e9)}' if saved else ''}"
        yield from _of_checkpoint(checkpoint)
    if references:
        yield "reference", ", ".join(references)
    for name, text in (("skipped", "updates skipped"), ("bad_rows", "clips that were not read")):
        values = run.curves[name].finite.values if name in run.curves else np.zeros(1)
        # "skipped" counts from the start of the run, "bad_rows" in each line.
        if count := values.max(initial=0) if name == "skipped" else values.sum():
            yield text, f"{count:.0f}"


def _of_checkpoint(folder: epath.Path) -> Iterator[tuple[str, str]]:
    """Devices, parameters and versions, from the files that Orbax writes beside the arrays."""
    sharding = [json.loads(text) for text in _json(folder / "state" / "_sharding").values()]
    shapes = {tuple(s["shape"]) for s in sharding if "shape" in s}
    if len(shapes) == 1:
        (mesh,) = shapes
        sizes = zip(sharding[0]["axis_names"], mesh, strict=True)
        yield "devices", f"{math.prod(mesh)} ({' x '.join(f'{n}={size}' for n, size in sizes)})"
        # Of arrays that several devices divide among them, the shapes are those of the pieces.
        if math.prod(mesh[1:]) == 1:
            yield from _parameters(_json(folder / "state" / "_METADATA").get("tree_metadata", {}))
    versions = _json(folder / "meta" / "metadata").get("versions", {})
    if versions:
        named = ("uniwav_jax", "jax", "flax")
        yield "versions", ", ".join(f"{name} {versions.get(name)}" for name in named)


def _parameters(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    counts: dict[str, int] = {}
    for entry in tree.values():
        top, *path = (key["key"] for key in entry["key_metadata"])
        if top == "params":
            size = math.prod(entry["value_metadata"]["write_shape"])
            counts[path[0]] = counts.get(path[0], 0) + size
    if counts:
        counts["total"] = sum(counts.values())
        yield "parameters", ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in counts.items())


def _newest_checkpoint(folder: epath.Path) -> epath.Path | None:
    steps = [int(name) for name in _names(folder / "checkpoints") if name.isdigit()]
    return folder / "checkpoints" / str(max(steps)) if steps else None


def _names(folder: epath.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _alarms(run: Run) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """The last alarms of the health check, as a table."""
    path = run.folder / "alarms.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    # A resumed run repeats alarms; a killed one leaves a part of a line.
    found = [json.loads(line) for line in dict.fromkeys(lines) if line.endswith("}")]
    if found:
        rows = [(str(entry["step"]), entry["alarm"]) for entry in found[-ROWS:]]
        heading = "Alarms" if len(rows) == len(found) else f"Alarms, the last of {len(found)}"
        yield heading, [("update", "alarm"), *rows]


def _comparison(run: Run, others: dict[str, Curves]) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """The table of the run against the references, at the last step that all have."""
    if not others:
        return
    ends = [max(int(curve.steps[-1]) for curve in other.values()) for other in others.values()]
    step = min(run.steps, *ends)
    rows = []
    for name in sorted(run.curves, key=lambda name: (name.removeprefix("eval_"), name)):
        there = [other[name] for other in others.values() if name in other]
        found = (
            curves.compare(run.curves[name], there, step)
            if there and re.search(COMPARED, name)
            else None
        )
        if found:
            low, high = f"{found.low:.4g}", f"{found.high:.4g}"
            span = low if low == high else f"{low} to {high}"
            rows.append((name, f"{found.value:.4g}", span, found.verdict))
    if rows:
        head = ("last tenth of the updates", "your run, mean", "reference", "your run is")
        yield f"Your run at step {step} against the reference", [head, *rows]


def _plots(run: Run, others: list[Curves]) -> Iterator[tuple[str, str]]:
    """(heading, plots of a group of metrics); constant metrics are listed below the others."""
    groups: dict[str, list[str]] = {heading: [] for heading in ORDER}
    constant = []
    for name in sorted({name.removeprefix("eval_") for name in run.curves}):
        both = {"training": run.curves.get(name), "held-out": run.curves.get(f"eval_{name}")}
        lines = {k: curve for k, curve in both.items() if curve and len(curve.finite.steps)}
        values = np.concatenate([curve.finite.values for curve in lines.values()] or [np.empty(0)])
        if not len(values):
            constant.append(f"{name} is never finite")
            continue
        if np.ptp(values) == 0 and sum(len(curve.steps) for curve in lines.values()) > 1:
            constant.append(f"{name} {values[0]:.4g}")
            continue
        references = {
            label: found
            for label, key in (("training", name), ("held-out", f"eval_{name}"))
            if (found := [o[key] for o in others if key in o and len(o[key].finite.steps)])
        }
        heading = next(heading for heading, fits in GROUPS if re.search(fits, name))
        groups[heading].append(
            plots.plot(
                name,
                lines,
                references=references,
                guides=report.PANELS.get(name),
                last_step=run.steps,
                may_be_log=name != "lr",
            )
        )
    for heading, found in groups.items():
        if found:
            yield heading, "".join(found)
    if constant:
        yield "Constant metrics", f"<p>{escape(', '.join(constant))}</p>\n"


def _newest(folder: epath.Path) -> epath.Path | None:
    """The entry of a folder with the largest step in its name, step_0000500 or step_0000500.tsv."""
    names = [name for name in _names(folder) if name.startswith("step_")]
    return folder / max(names) if names else None


def _texts(run: Run) -> Iterator[tuple[str, str]]:
    """The first rows of the newest table of what a recogniser understood."""
    path = _newest(run.folder / "hypotheses")
    if path:
        rows = [line.split("\t") for line in path.read_text().splitlines()[: ROWS + 1]]
        yield f"Recognised text, {_step(path)}", page.table(rows)


def _step(path: epath.Path) -> str:
    return f"update {int(re.sub(r'[^0-9]', '', path.stem) or 0)}"


def _pictures(run: Run) -> Iterator[tuple[str, str]]:
    """The pictures of the newest samples; a file that cannot be read is left out."""
    folder = _newest(run.folder / "samples")
    found = []
    for name in _names(folder) if folder else ():
        if name.endswith(".png") and len(found) < CLIPS:
            try:
                with Image.open(io.BytesIO((folder / name).read_bytes())) as picture:
                    text = f"Sample {escape(name)}"
                    found.append(page.image(picture.convert("RGB"), text, "saved", "WEBP"))
            except OSError:
                continue
    if found:
        yield f"Pictures of {_step(folder)}", "".join(found)


def _clips(run: Run) -> Iterator[tuple[str, str, list[page.Sound]]]:
    """(heading, text, sounds) of each clip of the newest samples, clip0_real.wav and so on."""
    folder = _newest(run.folder / "samples")
    clips: dict[str, list[str]] = {}
    for name in _names(folder) if folder else ():
        clip, _, kind = name.removesuffix(".wav").partition("_")
        if name.endswith(".wav"):
            clips.setdefault(clip, []).append(kind)
    for clip, kinds in list(clips.items())[:CLIPS]:
        sounds = []
        for kind in sorted(kinds, key=lambda kind: (kind != "real", kind)):
            try:
                content = io.BytesIO((folder / f"{clip}_{kind}.wav").read_bytes())
                wave, rate = soundfile.read(content, dtype="float32")
            except soundfile.LibsndfileError:
                continue
            sounds.append(page.Sound(kind, wave, rate))
        yield f"{clip}, {_step(folder)}", "", sounds
