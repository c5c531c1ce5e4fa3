#!/usr/bin/env python
"""Fine-tune for recognition with several seeds, with and without pretraining, and compare.

    python tools/finetune_asr.py --pretrained runs/demo --manifest data/train.tsv \
        --eval_manifest data/dev.tsv --minutes 10,60 --seeds 0,1 --out results/asr

For each amount of labels and each seed, the same config is trained from the pretrained encoder and
from scratch (CONFIG:scratch), on the same clips in the same batches and for the same number of
updates. The last hypotheses on --eval_manifest are scored. The results are the error rates of all
seeds, their mean, and the difference between the two starts, where mean and difference have 95 %
intervals over seeds and utterances: Student's t interval over the seeds (for the difference over
pairs with the same seed) and a bootstrap over the utterances, added in quadrature. Intervals from
two seeds are very wide; with a single seed they are over the utterances only, which the field
"intervals" of the results states. Finished runs are not repeated. Settings for all runs come last:
`-- --config.train.steps=500`.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys

import numpy as np

from uniwav_jax.data import subset
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.measures import bootstrap, word_error

STARTS = ("pretrained", "scratch")
MEASURES = {"cer": word_error.characters, "wer": word_error.words}


def main(argv: list[str]) -> int:
    """Run the missing trainings and score all of them; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pretrained", required=True, help="workdir of a pretraining run")
    parser.add_argument(
        "--config", default="asr_demo", help="name or path of a config with an argument 'scratch'"
    )
    parser.add_argument("--manifest", required=True, help="TSV with a column 'text'")
    parser.add_argument("--eval_manifest", required=True, help="TSV of other speakers")
    parser.add_argument(
        "--minutes", default="60", help="minutes of labelled speech, separated by commas"
    )
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the results")
    parser.add_argument("settings", nargs="*", help="settings for all runs, after --")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    for minutes in map(float, args.minutes.split(",")):
        name = f"{minutes:g}min"
        labelled = args.out / f"{name}.tsv"
        used = subset.write(pathlib.Path(args.manifest), labelled, minutes)
        counts: dict[str, list[dict[str, word_error.Errors]]] = {start: [] for start in STARTS}
        for seed in map(int, args.seeds.split(",")):
            for start in STARTS:
                workdir = args.out / f"{name}_{start}_{seed}"
                train(args, start, labelled, seed, workdir)
                counts[start].append(score(workdir))
        results.append({"minutes": round(used, 2), **summary(counts)})
        print(json.dumps(results[-1], indent=1), flush=True)
    document = {"command": " ".join(["python", *sys.argv]), "results": results}
    (args.out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    curves(args.out, args.out / "curves.png")
    return 0


def train(
    args: argparse.Namespace, start: str, manifest: pathlib.Path, seed: int, workdir: pathlib.Path
) -> None:
    """Train one run, or continue it.

    Raises:
        UserError: the run failed; names its log.
    """
    command = [sys.executable, "-m", "uniwav_jax.main", f"--config={args.config}:{start}"]
    command += [f"--workdir={workdir}", f"--config.seed={seed}"]
    command += [f"--config.data.manifest={manifest}"]
    command += [f"--config.data.eval_manifest={args.eval_manifest}"]
    if start == "pretrained":
        command.append(f"--config.init_from={args.pretrained}")
    print(f"{workdir}", flush=True)
    log = pathlib.Path(f"{workdir}.log")
    with log.open("a") as file:
        done = subprocess.run(
            [*command, *args.settings], stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise UserError(f"the run {workdir} ended with status {done.returncode}; see {log}")


def score(workdir: pathlib.Path) -> dict[str, word_error.Errors]:
    """Count the errors of a run's last hypotheses, by measure."""
    last = max((workdir / "hypotheses").glob("step_*.tsv"))
    with last.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pair = [[row[name] or "" for row in rows] for name in ("text", "hypothesis")]
    return {name: measure(*pair) for name, measure in MEASURES.items()}


def summary(runs: dict[str, list[dict[str, word_error.Errors]]]) -> dict[str, object]:
    """Rates of each start and measure, and the intervals of their differences.

    Args:
        runs: the errors of each start of `STARTS` in the order of the seeds.
    """
    several = len(runs["scratch"]) > 1
    over = (
        "seeds and clips" if several else "clips only: one seed does not show how far seeds differ"
    )
    table: dict[str, object] = {"intervals": over}
    for name in MEASURES:
        counts = {start: [errors[name].counts for errors in runs[start]] for start in STARTS}
        for start in STARTS:
            low, high = bootstrap.over_seeds(counts[start], word_error.rate)
            table[f"{name} {start}"] = {
                "seeds": [round(errors[name].rate, 4) for errors in runs[start]],
                "mean": round(float(np.mean([errors[name].rate for errors in runs[start]])), 4),
                "low": round(low, 4),
                "high": round(high, 4),
            }
        less = bootstrap.over_seeds(counts["pretrained"], word_error.rate, minus=counts["scratch"])
        table[f"{name} difference"] = [round(bound, 4) for bound in less]
    return table


def curves(folder: pathlib.Path, picture: pathlib.Path) -> None:
    """Plot character error rates on evaluation speech over updates, one panel per amount."""
    from matplotlib import figure

    amounts = sorted({path.name.split("_")[0] for path in folder.glob("*min_*_*") if path.is_dir()})
    canvas = figure.Figure(figsize=(5 * len(amounts), 4), layout="constrained")
    panels = canvas.subplots(1, len(amounts), squeeze=False)[0]
    for panel, amount in zip(panels, amounts, strict=True):
        for start, colour in zip(STARTS, ("tab:blue", "tab:orange"), strict=True):
            for workdir in sorted(folder.glob(f"{amount}_{start}_*/")):
                lines = (workdir / "metrics.jsonl").read_text().splitlines()
                scored = [line for line in map(json.loads, lines) if "eval_cer" in line]
                steps, rates = zip(*((line["step"], line["eval_cer"]) for line in scored))
                panel.plot(steps, rates, color=colour, label=start)
        panel.set(xlabel="update", ylabel="character error rate", title=amount, ylim=(0, None))
        handles, labels = panel.get_legend_handles_labels()
        unique = dict(zip(labels, handles))
        panel.legend(unique.values(), unique)
    canvas.savefig(picture, dpi=100)


if __name__ == "__main__":
    run_tool(main)
