"""Several configs with several seeds: the table of their runs, with intervals over the seeds.

    OUT/CONFIG/seed_N/          workdir of a run
    OUT/CONFIG/seed_N.log       what its commands printed
    OUT/CONFIG/seed_N_units.json, seed_N_asr/    what judged it
    OUT/table.json, OUT/table.md

The table is made of these files alone, so that it can be made again without any training.
"""

import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codec_table, curves
from uniwav_jax.measures import bootstrap

# Measures in the order of the columns; further ones of the evaluation follow by name.
FIRST = ("pnmi", "cer", "eval_loss_encoder", "eval_loss_mfcc", "eval_loss_decoder")
LEFT_OUT = ("eval_clips_left_out",)


def workdir(out: str | pathlib.Path, config: str, seed: int) -> pathlib.Path:
    """Workdir of the run of a config, a name with or without an argument, or a path."""
    name, _, argument = config.partition(":")
    name = pathlib.Path(name).stem + (f"_{argument}" if argument else "")
    return pathlib.Path(out) / name.replace("/", "_") / f"seed_{seed}"


def beside(run: pathlib.Path, what: str) -> pathlib.Path:
    """A file or folder that belongs to a run."""
    return run.with_name(f"{run.name}{what}")


def measured(run: pathlib.Path) -> dict[str, float]:
    """The last value of each measure of one run, {} before its first evaluation.

    "pnmi" is that of the best layer's states, with clusters of other speakers where there are some;
    "cer" that of the fine-tuning; the others are those of the run's own evaluation.
    """
    if not (run / "metrics.jsonl").exists():
        return {}
    found = {
        name: float(curve.values[-1])
        for name, curve in curves.read(str(run)).items()
        if name.startswith("eval_") and name not in LEFT_OUT
    }
    units, asr = beside(run, "_units.json"), beside(run, "_asr")
    if units.exists():
        document = json.loads(units.read_text(encoding="utf-8"))
        document = document.get("fit_manifest") or document
        found["pnmi"] = max(layer["pnmi"] for layer in document["encoder"]["states"])
    if (asr / "metrics.jsonl").exists():
        cer = curves.read(str(asr)).get("eval_cer")
        found |= {"cer": float(cer.values[-1])} if cer else {}
    return found


def table(out: str, configs: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Means over seeds, and differences to the first config, both with 95 % intervals.

    The intervals are Student's over the seeds, of differences over pairs of runs of the same seed.
    A config counts for a measure with the seeds that have it.

    Returns:
        {"configs", "seeds", "measures": {measure: {config: {"seeds": {seed: value}, "mean",
        "half_width", "difference", "difference_half_width", "differs"}}}}. With one seed the half
        widths and "differs" are None; "differs" says whether zero is outside the interval.

    Raises:
        UserError: no run has been evaluated yet.
    """
    runs = {c: {seed: measured(workdir(out, c, seed)) for seed in seeds} for c in configs}
    names = {name for of in runs.values() for values in of.values() for name in values}
    if not names:
        raise UserError(f"{out} has no run of {', '.join(configs)} that was evaluated")
    result: dict[str, Any] = {}
    for name in sorted(names, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n)):
        values = {c: {s: v[name] for s, v in of.items() if name in v} for c, of in runs.items()}
        base = values[configs[0]]
        result[name] = {}
        for config, own in values.items():
            if not own:
                continue
            entry: dict[str, Any] = {"seeds": own, **_mean(list(own.values()))}
            pairs = [own[seed] - base[seed] for seed in own if seed in base]
            if config != configs[0] and pairs:
                difference = _mean(pairs)
                half = difference["half_width"]
                entry["difference"], entry["difference_half_width"] = difference["mean"], half
                entry["differs"] = None if half is None else abs(difference["mean"]) > half
            result[name][config] = entry
    return {"configs": list(configs), "seeds": list(seeds), "measures": result}


def render(document: dict[str, Any]) -> str:
    """The table in Markdown, and in words what cannot be told apart."""
    first, lines = document["configs"][0], []
    for name, entries in document["measures"].items():
        rows = [
            (
                config,
                _with_interval(entry["mean"], entry["half_width"]),
                ", ".join(f"{value:.4g}" for value in entry["seeds"].values()),
                _difference(entry),
            )
            for config, entry in entries.items()
        ]
        head = (name, "mean (95 %)", "seeds", f"less {first}")
        lines += [codec_table.table(head, rows), ""]
    lines.append(
        f"Seeds {', '.join(map(str, document['seeds']))}. Intervals are Student's over the seeds,"
        " of differences over pairs of the same seed; one seed shows no difference."
    )
    return "\n".join(lines) + "\n"


def _mean(values: list[float]) -> dict[str, float | None]:
    half = bootstrap.half_width(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "half_width": half}


def _with_interval(mean: float, half: float | None) -> str:
    return f"{mean:.4g}" if half is None else f"{mean:.4g} ({mean - half:.4g} to {mean + half:.4g})"


def _difference(entry: dict[str, Any]) -> str:
    if "difference" not in entry:
        return ""
    words = {True: "differs", False: "cannot be told apart", None: "one seed: nothing can be told"}
    interval = _with_interval(entry["difference"], entry["difference_half_width"])
    return f"{interval}: {words[entry['differs']]}"
