"""`uniwav sweep`."""

import argparse
import functools
import json
import pathlib

from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError


def sweep(parser: argparse.ArgumentParser) -> Run:
    r"""Train several configs with several seeds, judge them, and say which differ.

        uniwav sweep ablations/joint ablations/no_decoder ablations/frozen --seeds 0,1,2 \
            --init_from ablations/frozen=ablations/no_decoder --out runs/sweep \
            --manifest TSV --eval_manifest TSV --units ALIGNED.tsv --alignments FOLDER \
            -- --config.train.steps=500
        uniwav sweep --out runs/sweep --table_only

    Each config and seed is one `uniwav train`, one after another, at low priority; its files are
    OUT/CONFIG/seed_N (the workdir), seed_N.log and others of that beginning. What is finished is
    skipped and what was interrupted continues. Where the speech for it is given, each run is judged
    by

    --units    PNMI of its best layer, by `uniwav evaluate units`
    --asr      the character error rate of a fine-tuning on some minutes of labelled speech
    --speech   the word error rate of speech, after a fine-tuning for synthesis (pip install
               "uniwav_jax[judges]")

    and always by its last losses on the evaluation speech. OUT/table.md and OUT/table.json have
    each measure for each config and seed, means and differences to the first config with 95 %
    intervals over the seeds (Student's t; differences are between runs of one seed), and say what
    does not differ significantly. --table_only writes them from the files of the runs.

    A run that fails is named with its log, the others are done, and the status is 1. Settings of
    the trainings of all configs follow after --.
    """
    parser.add_argument(
        "configs", nargs="*", metavar="CONFIG", help="name or path, perhaps with :ARGUMENT"
    )
    parser.add_argument("--seeds", default="", help="numbers, separated by commas")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the sweep")
    parser.add_argument("--manifest", default="", help="speech to train on")
    parser.add_argument("--eval_manifest", default="", help="speech of other speakers")
    parser.add_argument(
        "--init_from",
        action="append",
        default=[],
        metavar="CONFIG=OTHER",
        help="runs of CONFIG start from those of OTHER with the same seed",
    )
    parser.add_argument("--units", default="", help="manifest of aligned clips")
    parser.add_argument("--alignments", default="", help="folder of NAME.TextGrid")
    text = "fit the codewords of --units to this speech; default: to the aligned clips"
    parser.add_argument("--fit_manifest", default="", help=text)
    parser.add_argument("--asr", default="", help="manifest with texts, to fine-tune on")
    parser.add_argument("--asr_eval", default="", help="the same of other speakers")
    parser.add_argument("--asr_minutes", type=float, default=10.0, help="used; default: 10")
    text = "of the fine-tuning; default: %(default)s"
    parser.add_argument("--asr_config", default="ablations/asr", help=text)
    parser.add_argument("--speech", default="", help="manifest with phones, to fine-tune on")
    parser.add_argument("--speech_eval", default="", help="the same with texts and speakers")
    parser.add_argument("--speech_config", default="ablations/tts", help=text)
    parser.add_argument("--nice", type=int, default=19, help="niceness, 0 to 19; default: 19")
    parser.add_argument("--table_only", action="store_true", help="train nothing")
    # Configs come first and settings last, with options between them.
    parser.parse_args = functools.partial(_parse, parser)
    return _sweep


def _parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse what is before the first "--"; what is behind it are the settings."""
    place = argv.index("--") if "--" in argv else len(argv)
    found = argparse.ArgumentParser.parse_args(parser, argv[:place])
    found.settings = argv[place + 1 :]
    return found


def _sweep(args: argparse.Namespace) -> int:
    from uniwav_jax.evaluation import sweep as sweep_lib
    from uniwav_jax.evaluation import sweep_table
    from uniwav_jax.evaluation.sweep_plan import Plan

    options = {**vars(args), "configs": tuple(args.configs), "seeds": _seeds(args.seeds)}
    if options.pop("table_only"):
        configs, seeds = _asked(args.out, options["configs"], options["seeds"])
        document = sweep_table.write(args.out, configs, seeds)
        if not document["measures"]:
            raise UserError(f"none of these runs is finished in {args.out}: {', '.join(configs)}")
        print(sweep_table.render(document), end="")
        return 0
    if not args.manifest or not args.eval_manifest:
        raise UserError("give --manifest and --eval_manifest, the speech to train and evaluate on")
    options["settings"] = _settings(options["settings"])
    options["starts"] = _starts(options.pop("init_from"))
    failed = sweep_lib.run(Plan(**options))
    print((args.out / "table.md").read_text(encoding="utf-8"), end="")
    for fault in failed:
        files.report(f"{fault['run']}: {fault['stage']} failed; see {fault['log']}")
    return int(bool(failed))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in text.split(",")) if text else ()
    except ValueError as error:
        raise UserError(f"--seeds must be numbers, separated by commas; got {text!r}") from error


def _settings(words: list[str]) -> dict[str, str]:
    """{field: value} of words --config.FIELD=VALUE."""
    found = {}
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--workdir", "--config"):
            raise UserError(f"the sweep sets {flag} itself")
        if not flag.startswith("--config.") or not equals:
            raise UserError(f"settings after -- are --config.FIELD=VALUE; got {word!r}")
        found[flag.removeprefix("--config.")] = value
    return found


def _starts(pairs: list[str]) -> dict[str, str]:
    """{config: the config that it starts from} of words CONFIG=OTHER."""
    found = {}
    for pair in pairs:
        config, equals, other = pair.partition("=")
        if not equals or not config or not other or config in found:
            raise UserError(f"--init_from takes CONFIG=OTHER, once for a CONFIG; got {pair!r}")
        found[config] = other
    return found


def _asked(
    out: pathlib.Path, configs: tuple[str, ...], seeds: tuple[int, ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Configs and seeds, where they are not given those of the sweep that was run last."""
    if configs and seeds:
        return configs, seeds
    path = out / "sweep.json"
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; give configs and --seeds") from error
    return configs or tuple(last["configs"]), seeds or tuple(last["seeds"])
