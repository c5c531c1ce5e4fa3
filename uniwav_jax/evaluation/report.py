"""Plots and summarises runs, finished or not, from their metrics.jsonl and config.json.

FOLDER/curves.png     losses, perplexities, gradient norm and speed of all runs; values on
                      evaluation speech are dashed
FOLDER/summary.json   {"runs": {workdir: {"steps", "hours_of_audio", "metrics": {name:
                      {"first", "best", "best_step", "last"}}}}}
FOLDER/summary.md     the same as tables
"""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from etils import epath

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import curves as curves_lib
from uniwav_jax.evaluation.curves import Curves

# {metric that is plotted if a run has it: {label of a reference line: its value}}.
PANELS = {
    "loss_encoder": {"ln 256: a uniform guess": math.log(256)},
    "loss_decoder": {"2: no output": 2.0, "π/2: from the noisy input alone": math.pi / 2},
    "loss_encoder_above_targets": {"0: only how frequent each codeword is": 0.0},
    "target_perplexity": {},
    "prediction_perplexity": {},
    "loss_mel": {},
    "loss_discriminator": {"2: the discriminator's output is constant": 2.0},
    "mel_distance": {},
    "stoi": {},
    "grad_norm": {},
    "audio_seconds_per_second": {},
}
# {part of a metric's name: function that selects the best value}; other metrics have no best value.
BEST = {"loss": min, "perplexity": max, "active_codewords": max, "seconds_per_second": max}
BEST |= {"distance": min, "stoi": max, "pesq": max}


def write(workdirs: Sequence[str], target: str) -> None:
    """Read the runs and write the report.

    Args:
        workdirs: working directories of the runs.
        target: folder for the report.

    Raises:
        UserError: a run has no metrics, or the folder cannot be written.
    """
    runs = {workdir: curves_lib.read(workdir) for workdir in workdirs}
    summary = {
        "runs": {
            workdir: summarize(curves, batch_seconds=read_batch_seconds(workdir))
            for workdir, curves in runs.items()
        }
    }
    out = pathlib.Path(target)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (out / "summary.md").write_text(markdown(summary), encoding="utf-8")
        draw(runs, str(out / "curves.png"))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror})") from error
    print(f"wrote curves.png, summary.json and summary.md to {out}")


def read_batch_seconds(workdir: str) -> float | None:
    """The configured seconds of audio per step; None if there is no config.json.

    Raises:
        UserError: config.json is not a run's configuration.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        return None
    try:
        return float(json.loads(path.read_text())["data"]["batch_seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} has no data.batch_seconds; it is not the configuration of a run"
        ) from error


def summarize(curves: Curves, *, batch_seconds: float | None) -> dict[str, Any]:
    """Summarise a run: {"steps", "hours_of_audio", "metrics"} as in the module's docstring.

    Args:
        curves: of the run's metrics.
        batch_seconds: seconds of audio per step, padding included; None if unknown.
    """
    steps = max(int(curve.steps[-1]) for curve in curves.values())
    metrics = {}
    for name, curve in sorted(curves.items()):
        points = list(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))
        entry: dict[str, Any] = {"first": points[0][1], "last": points[-1][1]}
        counted = name.endswith("_clips")  # the number of clips behind a mean has no best value
        better = next((pick for word, pick in BEST.items() if word in name and not counted), None)
        finite = [(value, step) for step, value in points if math.isfinite(value)]
        if better and finite:
            entry["best"], entry["best_step"] = better(finite, key=lambda pair: pair[0])
        # Strict JSON has no NaN.
        metrics[name] = {k: v if math.isfinite(v) else None for k, v in entry.items()}
    hours = None if batch_seconds is None else steps * batch_seconds / 3600
    return {"steps": steps, "hours_of_audio": hours, "metrics": metrics}


def markdown(summary: dict[str, Any]) -> str:
    """The summary as Markdown, with one table per run."""
    lines = ["# Training report", "", "![curves](curves.png)"]
    for workdir, run in summary["runs"].items():
        hours = run["hours_of_audio"]
        seen = "" if hours is None else f", {hours:.4g} hours of audio (padding included)"
        lines += ["", f"## {workdir}", "", f"{run['steps']} steps{seen}", ""]
        lines += ["| metric | first | best | at step | last |", "| --- | --- | --- | --- | --- |"]
        for name, entry in run["metrics"].items():
            cells = [_cell(entry, key) for key in ("first", "best", "best_step", "last")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(runs: dict[str, Curves], path: str) -> None:
    """Plot the `PANELS` of all runs, with dashed lines for evaluation speech, and save a PNG."""
    from matplotlib import figure as figure_lib

    known = {name.removeprefix("eval_") for curves in runs.values() for name in curves}
    panels = {name: lines for name, lines in PANELS.items() if name in known}
    rows = max(-(-len(panels) // 2), 1)
    figure = figure_lib.Figure(figsize=(12, 3.7 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, sharex=True, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (name, references) in zip(axes.flat, panels.items(), strict=False):
        for index, (workdir, curves) in enumerate(runs.items()):
            for metric, style in ((name, "-"), (f"eval_{name}", "--o")):
                curve = curves.get(metric)
                if curve is not None:
                    label = workdir if style == "-" else f"{workdir} (evaluation)"
                    axis.plot(
                        *curve,
                        style,
                        color=f"C{index}",
                        linewidth=1,
                        markersize=3,
                        label=label,
                    )
        for text, value in references.items():
            axis.axhline(value, color="gray", linestyle=":", linewidth=1)
            axis.annotate(
                text,
                (1, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=8,
            )
        axis.set_title(name)
        axis.grid(alpha=0.3)
        if name == "grad_norm":
            axis.set_yscale("log")
    for axis in axes[-1]:
        axis.set_xlabel("step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", fontsize=8)
    figure.savefig(path, dpi=120)


def _cell(entry: dict[str, Any], key: str) -> str:
    if key not in entry:
        return ""
    value = entry[key]
    return "not finite" if value is None else f"{value:.5g}" if key != "best_step" else str(value)
