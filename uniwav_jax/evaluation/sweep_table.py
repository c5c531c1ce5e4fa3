"""The table of a sweep: what its runs measured, with intervals over the seeds.

It is made from the files of the runs (`Run`), so it can be made again without any of the models.
"""

import json
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codec_table
from uniwav_jax.evaluation import curves as curves_lib
from uniwav_jax.measures import bootstrap

TITLES = {
    "pnmi": "PNMI of the encoder's best layer (higher is better)",
    "pnmi_tokens": "PNMI of the tokens of book 1 (higher is better)",
    "cer": "Character error rate after fine-tuning (lower is better)",
    "speech_word_error": "Word error rate of generated speech after fine-tuning (lower is better)",
}
ROW = "oracle"  # of `uniwav evaluate speech`: with the durations of the recordings
NOTE = (
    "Means are over the seeds, with Student's 95 % intervals. Differences are between runs of the"
    " same seed, and two configs differ significantly where the interval of the difference does not"
    " contain 0. One of twenty such intervals misses the truth, so that some of many comparisons"
    " are wrong. Losses can be compared only between configs with the same features, targets and"
    " counted frames."
)


class Run(NamedTuple):
    """The files of one config with one seed.

    Attributes:
        out: folder of the sweep.
        config: name or path of the config, perhaps with an argument.
        seed: the run's seed.
    """

    out: pathlib.Path
    config: str
    seed: int

    def __str__(self) -> str:
        return f"{self.config}, seed {self.seed}"

    def file(self, ending: str = "") -> pathlib.Path:
        """OUT/CONFIG/seed_N, with an ending; without one it is the workdir of the training."""
        return self.out / folder_of(self.config) / f"seed_{self.seed}{ending}"

    def record(self) -> dict[str, Any]:
        """{stage: {"command", "seconds"}} of finished stages, and "failed": [...] if some did."""
        path = self.file(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def folder_of(config: str) -> str:
    """The folder of a config's runs; "ablations/depth:4x2" gives "ablations/depth_4x2".

    Args:
        config: name or path of a config, perhaps with an argument.
    """
    name, _, argument = config.partition(":")
    if name.endswith(".py"):
        name = pathlib.PurePath(name).stem
    return name + (f"_{re.sub(r'[^A-Za-z0-9_.-]+', '_', argument)}" if argument else "")


def measured(run: Run) -> dict[str, float]:
    """What the finished stages of a run measured, {measure: value}.

    They are the last losses on evaluation speech, by their names in metrics.jsonl, and the measures
    of `TITLES`. The sum of several losses is left out, because it has other weights in other
    configs, and so are losses of exactly 0, which were not computed.

    Raises:
        UserError: a finished stage has no result, or a damaged one.
    """
    done, found = run.record(), {}
    if "train" in done:
        last = _last(run.file())
        parts = [name for name in last if name.startswith("eval_loss_")]
        parts = [name for name in parts if not name.endswith("_above_targets")]
        found |= {name: last[name] for name in parts or ["eval_loss"] if last.get(name)}
        found |= {name: last[name] for name in ("eval_cer", "eval_wer") if name in last}
    if "units" in done:
        document = _read(run.file(".units.json"))
        layers = document.get("fit_manifest", document)["encoder"]["states"]
        found["pnmi"] = max(layer["pnmi"] for layer in layers)
        if "tokens" in document:
            del found["pnmi"]  # the encoder is that of another run
            found["pnmi_tokens"] = document["tokens"][0]["pnmi"]
    if "asr" in done:
        found["cer"] = _last(run.file(".asr"))["eval_cer"]
    if "speech" in done:
        row = _read(run.file(".speech.json"))["rows"][ROW]
        if "word_error" in row:  # otherwise its judge is not installed
            found["speech_word_error"] = row["word_error"]["mean"]
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _last(workdir: pathlib.Path) -> dict[str, float]:
    """The last value of each metric of an evaluation."""
    curves = curves_lib.read(str(workdir))
    return {n: float(curve.values[-1]) for n, curve in curves.items() if n.startswith("eval_")}


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; delete it to measure again") from error


def compare(values: dict[str, dict[int, float]], first: str) -> dict[str, dict[str, Any]]:
    """Means of a measure by config, and differences to one config.

    Args:
        values: {config: {seed: value}}.
        first: the config that the others are compared with.

    Returns:
        {config: {"seeds": {seed: value}, "mean", "low", "high", "difference": {"mean", "low",
        "high", "seeds": number of seeds that both have}, "told_apart": bool or None}}. Bounds are
        of Student's 95 % interval, None with a single seed. The first config has no difference.
        "told_apart" is None where too few seeds are there to tell.
    """
    table = {}
    for config, by_seed in values.items():
        table[config] = {"seeds": by_seed, **_interval(list(by_seed.values()))}
        if config == first:
            continue
        both = [seed for seed in by_seed if seed in values.get(first, {})]
        difference = _interval([by_seed[seed] - values[first][seed] for seed in both])
        low, high = difference["low"], difference["high"]
        table[config] |= {
            "difference": {**difference, "seeds": len(both)},
            "told_apart": None if low is None else not low <= 0 <= high,
        }
    return table


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and bounds; None where there are too few values."""
    if not values:
        return {"mean": None, "low": None, "high": None}
    mean = sum(values) / len(values)
    half = bootstrap.student(values) if len(values) > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high}


def make(out: pathlib.Path, configs: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Read the files of all runs.

    Args:
        out: folder of the sweep.
        configs: the first is the one that others are compared with.
        seeds: the seeds.

    Returns:
        {"configs", "seeds", "measures": {measure: the result of `compare`}, "failed": [{"run",
        "stage", "log"}], "unfinished": [runs]}.

    Raises:
        UserError: the result of a finished stage is missing or damaged.
    """
    measures: dict[str, dict[str, dict[int, float]]] = {}
    failed, unfinished = [], []
    for config in configs:
        for seed in seeds:
            run = Run(out, config, seed)
            record = run.record()
            faults = record.get("failed", ())
            failed += [{"run": str(run), **fault} for fault in faults]
            if "train" not in record and not faults:
                unfinished.append(str(run))
            for name, value in measured(run).items():
                measures.setdefault(name, {}).setdefault(config, {})[seed] = value
    order = [*(name for name in TITLES if name in measures), *sorted(measures.keys() - TITLES)]
    return {
        "configs": list(configs),
        "seeds": list(seeds),
        "measures": {
            name: compare({c: measures[name].get(c, {}) for c in configs}, configs[0])
            for name in order
        },
        "failed": failed,
        "unfinished": unfinished,
    }


def render(document: dict[str, Any]) -> str:
    """The tables in Markdown.

    Args:
        document: the result of `make`.
    """
    first, seeds = document["configs"][0], document["seeds"]
    parts = []
    for name, rows in document["measures"].items():
        head = ["config", *(f"seed {seed}" for seed in seeds), "mean", f"less {first}"]
        lines = [
            [
                config,
                *(_number(row["seeds"].get(seed)) for seed in seeds),
                _cell(row),
                "" if config == first else _cell(row["difference"]),
                "" if config == first else _verdict(row),
            ]
            for config, row in rows.items()
        ]
        parts += [f"## {TITLES.get(name, name)}", codec_table.table([*head, "differs"], lines)]
        parts += _sentences(rows, first)
    parts.append(NOTE)
    for fault in document["failed"]:
        parts.append(f"Failed: {fault['run']}, {fault['stage']}; see {fault['log']}")
    if document["unfinished"]:
        parts.append(f"Not finished: {'; '.join(document['unfinished'])}")
    return "\n\n".join(parts) + "\n"


def _sentences(rows: dict[str, dict[str, Any]], first: str) -> list[str]:
    """What does not differ significantly from the first config, in words."""
    others = {config: row for config, row in rows.items() if config != first}
    alike = [config for config, row in others.items() if row["told_apart"] is False]
    few = [config for config, row in others.items() if row["told_apart"] is None]
    found = []
    if alike:
        found.append(f"No significant difference between {first} and {', '.join(alike)}.")
    if few:
        found.append(
            f"At least two seeds with this measure are needed to compare {first} and"
            f" {', '.join(few)}."
        )
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cell(row: dict[str, Any]) -> str:
    text = _number(row["mean"])
    return text if row["low"] is None else f"{text} ({row['low']:.4f} to {row['high']:.4f})"


def _verdict(row: dict[str, Any]) -> str:
    if row["told_apart"] is None:
        return "too few seeds"
    if not row["told_apart"]:
        return "no"
    return "yes, higher" if row["difference"]["mean"] > 0 else "yes, lower"


def write(out: pathlib.Path, configs: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Write OUT/table.json and OUT/table.md; returns the result of `make`.

    Args, Raises: as for `make`.
    """
    document = make(out, configs, seeds)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (out / "table.md").write_text(render(document), encoding="utf-8")
    return document
