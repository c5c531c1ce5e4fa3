"""`uniwav sweep`."""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError

OWN = ("seed", "data.manifest", "data.eval_manifest")  # settings that have an option here
NICE = 10  # added to the niceness of the trainings, so that the machine stays usable
# Fields of a pretraining that a fine-tuning must share.
ENCODER = ("layers", "width", "heads", "ffn", "norm")
FEATURES = ("kind", "codec", "mel_bands", "window", "mel_low", "mel_high")


def sweep(parser: argparse.ArgumentParser) -> Run:
    r"""Train several configs with several seeds, and compare them with intervals over the seeds.

        uniwav sweep ablation:joint ablation:no_decoder --seeds 0,1,2 --out runs/sweep \
            --manifest train.tsv --eval_manifest eval.tsv --units aligned.tsv --alignments textgrids

    The trainings run one after the other, with low priority, and each writes OUT/CONFIG/seed_N.log.
    The same command continues: finished runs are not repeated, and what failed is named and tried
    again. Beside the losses of the run's evaluation, --units measures how well clusters of the
    states correspond to phones (PNMI of the best layer), and --asr the error rate in characters
    after a short fine-tuning. Writes OUT/table.json and OUT/table.md, also while runs are missing.
    Settings of all trainings: `--settings train.steps=500 data.threads=1`.
    """
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="NAME or PATH, with :ARGUMENT")
    parser.add_argument("--seeds", default="0,1,2", help="commas: several; default: 0,1,2")
    parser.add_argument("--out", required=True, help="folder of the runs and the table")
    parser.add_argument("--manifest", help="training speech")
    parser.add_argument("--eval_manifest", help="held-out speech")
    parser.add_argument("--units", metavar="MANIFEST", help="aligned clips, to measure PNMI")
    parser.add_argument("--alignments", help="their TextGrids; see uniwav evaluate units")
    parser.add_argument("--fit_manifest", help="other speech, to which the clusters are fitted")
    parser.add_argument("--asr", metavar="MANIFEST", help="speech with texts, to fine-tune on")
    parser.add_argument("--asr_eval", metavar="MANIFEST", help="held-out speech with texts")
    parser.add_argument("--asr_steps", type=int, default=400, help="updates; default: 400")
    parser.add_argument("--limit", type=int, default=60, help="clips for PNMI; default: 60")
    text = "of all trainings, as train.steps=500; several"
    parser.add_argument("--settings", nargs="+", default=[], metavar="FIELD=VALUE", help=text)
    parser.add_argument("--table_only", action="store_true", help="train nothing")
    return _sweep


def _sweep(args: argparse.Namespace) -> int:
    from uniwav_jax.config import recipes
    from uniwav_jax.evaluation import sweep as sweep_lib

    seeds, configs = _check(args), args.configs
    for config in configs:
        recipes.find(config)
    runs = [(config, seed) for seed in seeds for config in configs]
    failed = 0
    for place, (config, seed) in enumerate([] if args.table_only else runs):
        run = sweep_lib.workdir(args.out, config, seed)
        print(f"{place + 1} of {len(runs)}: {config}, seed {seed}", flush=True)
        try:
            for name, words in _commands(args, config, seed, run):
                _run(run, name, words)
        except UserError as error:
            failed += files.report(error)
    document = sweep_lib.table(args.out, configs, seeds)
    target = pathlib.Path(args.out) / "table.json"
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(sweep_lib.render(document), encoding="utf-8")
    print(sweep_lib.render(document), end="")
    return int(failed > 0)


def _check(args: argparse.Namespace) -> list[int]:
    """The seeds; raises a `UserError` for what cannot be a sweep."""
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds={args.seeds}: give whole numbers, as 0,1,2") from error
    for what, given in (("seed", seeds), ("config", args.configs)):
        if twice := {str(word) for word in given if given.count(word) > 1}:
            raise UserError(f"the {what} {', '.join(sorted(twice))} is given twice")
    for word in args.settings:
        field, equals, _ = word.partition("=")
        if field in OWN or not equals:
            raise UserError(f"--settings {word}: give FIELD=VALUE, except {', '.join(OWN)}")
    if not args.table_only and not (args.manifest and args.eval_manifest):
        raise UserError("trainings need --manifest and --eval_manifest")
    for one, other in (("units", "alignments"), ("asr", "asr_eval")):
        if bool(getattr(args, one)) != bool(getattr(args, other)):
            raise UserError(f"--{one} and --{other} belong together")
    return seeds


def _commands(
    args: argparse.Namespace, config: str, seed: int, run: pathlib.Path
) -> Iterator[tuple[str, list[str]]]:
    """(name, words of the command) of each step of one run, in order.

    The second and later ones are made when the run before them has ended.
    """
    from uniwav_jax.config import recipes
    from uniwav_jax.evaluation import sweep as sweep_lib

    yield (
        "train",
        [
            *("uniwav_jax.main", f"--config={recipes.find(config)}", f"--workdir={run}"),
            *(f"--config.seed={seed}", f"--config.data.manifest={args.manifest}"),
            f"--config.data.eval_manifest={args.eval_manifest}",
            *(f"--config.{setting}" for setting in args.settings),
        ],
    )
    if args.units:
        fit = ["--fit_manifest", args.fit_manifest] if args.fit_manifest else []
        yield (
            "units",
            [
                *("uniwav_jax.cli", "evaluate", "units", "--checkpoint", str(run), *fit),
                *("--manifest", args.units, "--alignments", args.alignments),
                *("--limit", str(args.limit), "--out", str(sweep_lib.beside(run, "_units.json"))),
            ],
        )
    if args.asr:
        then = json.loads((run / "config.json").read_text(encoding="utf-8"))
        same = {f"model.encoder.{name}": then["model"]["encoder"][name] for name in ENCODER}
        same |= {f"features.{name}": then["features"][name] for name in FEATURES}
        every = ("train.steps", "evaluate.every", "checkpoint.every")
        same |= dict.fromkeys(every, args.asr_steps)
        yield (
            "asr",
            [
                *("uniwav_jax.main", f"--config={recipes.find('asr_demo')}"),
                *(f"--workdir={sweep_lib.beside(run, '_asr')}", f"--config.init_from={run}"),
                *(f"--config.seed={seed}", f"--config.data.manifest={args.asr}"),
                f"--config.data.eval_manifest={args.asr_eval}",
                *(f"--config.{name}={value}" for name, value in same.items()),
            ],
        )


def _run(run: pathlib.Path, name: str, words: list[str]) -> None:
    """Run one command of a run, unless the same command has ended well before.

    Raises:
        UserError: it failed; names its log.
    """
    from uniwav_jax.evaluation import sweep as sweep_lib

    record = sweep_lib.beside(run, "_done.json")
    done = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if done.get(name) == words:
        return
    log = sweep_lib.beside(run, ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        command = ["nice", f"-n{NICE}", sys.executable, "-m", *words]
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if status.returncode:
        raise UserError(f"{run}: {name} ended with status {status.returncode}; see {log}")
    draft = record.with_suffix(".part")
    draft.write_text(json.dumps({**done, name: words}, indent=1) + "\n", encoding="utf-8")
    draft.replace(record)
