"""`uniwav evaluate ...` and `uniwav report`."""

import argparse
import json
import pathlib
from typing import TYPE_CHECKING, Any

from uniwav_jax.cli import Run, files, recognition
from uniwav_jax.errors import UserError
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE

if TYPE_CHECKING:
    from uniwav_jax.evaluation.heard import Heard
    from uniwav_jax.evaluation.judges import Judges


def asr(parser: argparse.ArgumentParser) -> Run:
    r"""Error rates of a recogniser on speech with text, greedy and with an n-gram, and its speed.

        uniwav evaluate asr --checkpoint runs/asr --manifest data/dev.tsv --out results/dev
        uniwav evaluate asr --checkpoint runs/asr --manifest data/dev.tsv --lm lm.bin \
            --lm_weight 0.3,0.6,0.9,1.2 --word_score=-1,0,1

    Several weights and word scores are all tried; choose the best on a development set and give the
    test set one of each. OUT gets results.json, hypotheses.tsv and alignment.txt, which shows what
    was recognised in place of what. A clip that cannot be read is named and left out, and the
    status is 1.
    """
    parser.add_argument("--checkpoint", required=True, help=recognition.CHECKPOINT)
    parser.add_argument("--manifest", required=True, help="with a column text")
    parser.add_argument("--lm", help=recognition.LM)
    for option, default, text in (
        ("--lm_weight", LM_WEIGHT, recognition.LM_WEIGHT_HELP),
        ("--word_score", WORD_SCORE, recognition.WORD_SCORE_HELP),
    ):
        parser.add_argument(option, default=str(default), help=f"{text}; commas: several")
    parser.add_argument("--beam", type=int, default=100, help="hypotheses kept; default: 100")
    parser.add_argument("--out", type=pathlib.Path, help="folder")
    return _asr


def _asr(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.evaluation import recognition as recognition_lib

    weights, word_scores = (
        [float(value) for value in values.split(",")]
        for values in (args.lm_weight, args.word_score)
    )
    options = {"lm": args.lm, "weights": weights, "word_scores": word_scores, "beam": args.beam}
    model = api.load(args.checkpoint)
    scores = recognition_lib.score(model.recognizer, args.manifest, **options)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        rows = zip(scores.names, scores.references, scores.hypotheses, strict=True)
        table = "".join("\t".join(row) + "\n" for row in rows)
        for name, content in {
            "results.json": json.dumps(scores.results, indent=1) + "\n",
            "hypotheses.tsv": "path\ttext\thypothesis\n" + table,
            "alignment.txt": scores.alignment,
        }.items():
            (args.out / name).write_text(content, encoding="utf-8")
    return int(bool(scores.results["clips_unreadable"]))


def units(parser: argparse.ArgumentParser) -> Run:
    """How well the codewords of a run correspond to phones, and what they say of speakers.

    Every clip of the manifest with a TextGrid of its file's name (tier "phones") goes unmasked
    through the networks of the checkpoint. Prints purities and mutual information of codes and
    phones, silence included: of the student's codes and of the teacher's codes, or of the tokens
    of a run of task tokenizer, and of as many new codewords that are fitted to log-mel features, to
    MFCC, and to the states of each layer. Information is in nats; the one with speakers lies
    between the permutation's and the two-point estimate.

    Compare the fitted rows with one another, because nearly all of their codewords are in use. An
    encoder is worth its training where it is above both the untrained network (--untrained) and the
    input. With --untrained follow intervals of encoder minus untrained, by bootstrap over the
    clips; repeating with another --seed shows the rest of the chance.

    Codewords that are fitted to the speech that they are tested on know its speakers, which raises
    every row. With --fit_manifest a second set of tables follows, of codewords that are fitted to
    the speech of that manifest (other speakers; it needs no TextGrids).
    """
    parser.add_argument("--checkpoint", required=True, help="workdir of a run with an encoder")
    parser.add_argument("--manifest", required=True, help="of the aligned clips")
    parser.add_argument("--alignments", required=True, help="folder of NAME.TextGrid")
    parser.add_argument("--fit_manifest", help="also fit codewords to this speech instead")
    parser.add_argument("--untrained", action="store_true", help="also measure fresh weights")
    parser.add_argument("--updates", type=int, default=50, help="that fit new codebooks")
    parser.add_argument("--seed", type=int, default=0, help="of fresh weights and codewords")
    parser.add_argument("--limit", type=int, help="clips at most, spread over each manifest")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="computed at once")
    parser.add_argument("--words", type=int, help="codewords that are fitted; default: of the run")
    parser.add_argument("--abx", action="store_true", help="also ABX errors, by fastabx")
    parser.add_argument("--out", help="JSON file to write")
    return _units


def _units(args: argparse.Namespace) -> int:
    from uniwav_jax.evaluation import codewords

    options = {name: value for name, value in vars(args).items() if name != "out"}
    _write(args.out, codewords.evaluate(**options))
    return 0


def codec(parser: argparse.ArgumentParser) -> Run:
    r"""How good codecs are for three things: reconstruction, generation and representation.

        uniwav evaluate codec codecs/mine codecs/lyra mel --manifest dev.tsv --out codecs.json \
            --train_manifest other_speakers.tsv --alignments textgrids

    CODEC is a codec folder, or the word mel for log-mel spectrograms with Griffin-Lim.

    reconstruction   PESQ, STOI, mel distance, word error (Whisper tiny.en), cosine to the original
                     speaker (Resemblyzer) and DNSMOS of decoded speech, also with Gaussian noise on
                     the latents
    generation       word error and STOI of what a small flow-matching model generates from log-mel
                     spectrograms, and its loss; it is trained on --train_manifest
    representation   mutual information of phones and clusters of single latents (PNMI), beside that
                     of log-mel and MFCC; clusters are fitted to --train_manifest, and to the same
                     clips

    Means have 95 % intervals over the clips. A measure whose data or package is missing is left
    out, which stderr says. OUT gets everything as JSON, and OUT with .md the tables.
    """
    from uniwav_jax.evaluation.codec_measures import MEASURES, Settings

    usual = Settings(manifest="")
    noise = ",".join(f"{noise:g}" for noise in usual.noises)
    parser.add_argument("codecs", nargs="+", metavar="CODEC", help="codec folder, or mel")
    parser.add_argument("--manifest", required=True, help="of the clips, with a column text")
    parser.add_argument("--measures", default=",".join(MEASURES), help="some of the three")
    parser.add_argument("--train_manifest", help="speech of other speakers")
    parser.add_argument("--alignments", help="folder of NAME.TextGrid")
    parser.add_argument("--aligned_manifest", help="clips with TextGrids; default: MANIFEST")
    parser.add_argument("--noise", default=noise, help=f"on latents; default: {noise}")
    parser.add_argument("--codebooks", type=int, default=0, help="number of quantisers")
    parser.add_argument("--limit", type=int, help="clips at most, spread over the manifest")
    parser.add_argument("--aligned_limit", type=int, help="clips with TextGrids at most, likewise")
    parser.add_argument("--train_limit", type=int, help="training clips at most, likewise")
    text = f"of the flow model; default: {usual.updates}"
    parser.add_argument("--updates", type=int, default=usual.updates, help=text)
    text = "also pretrain an encoder (config demo) so long; default: 0, none"
    parser.add_argument("--pretrain_updates", type=int, default=0, help=text)
    text = f"name or folder of a CTranslate2 model; default: {usual.whisper}"
    parser.add_argument("--whisper", default=usual.whisper, help=text)
    parser.add_argument("--seed", type=int, default=0, help="of noise, weights and crops")
    parser.add_argument("--out", help="JSON file to write")
    return _evaluate_codec


def _evaluate_codec(args: argparse.Namespace) -> int:
    from uniwav_jax.evaluation import codec_measures, codec_table

    options = {name: value for name, value in vars(args).items() if name not in ("codecs", "out")}
    options["noises"] = tuple(float(noise) for noise in options.pop("noise").split(","))
    options["measures"] = tuple(options["measures"].split(","))
    settings = codec_measures.Settings(**options)
    document, errors = codec_measures.evaluate(args.codecs, settings)
    if args.out:
        codec_table.write(document, args.out)
    print(codec_table.render(document), end="")
    return max((files.report(error) for error in errors), default=0)


def speech(parser: argparse.ArgumentParser) -> Run:
    r"""Word error, similarity and loudness of generated speech, beside the recordings.

        uniwav evaluate speech --checkpoint runs/tts --manifest held_out.tsv --seeds 0,1,2 \
            --out results/tts.json --page results/tts.html

    Each clip of the manifest, which needs texts and speakers, is spoken in the voice of the first
    3 s of another clip of its speaker, or with the prompts of a list of `uniwav data speech_list`,
    which may be continued. Rows: real, round trip (through the codec), oracle (generated with the
    durations of the recording, which needs `uniwav data phones`), predicted (with those of the
    model) and even (spread evenly). Needs pip install "uniwav_jax[judges]".
    """
    from uniwav_jax.evaluation.speech import ROWS

    _add_judged(parser, "tts", "with texts, speakers and perhaps phones")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    return _evaluate_speech


def _evaluate_speech(args: argparse.Namespace) -> int:
    import tempfile

    from uniwav_jax import api
    from uniwav_jax.data import manifest
    from uniwav_jax.errors import UserError
    from uniwav_jax.evaluation import speech as speech_lib

    rows = args.rows.split(",")
    for row in rows:
        if row not in speech_lib.ROWS:
            raise UserError(f"--rows: there is no row {row!r}; there are {speech_lib.ROWS}")
    speaker = api.load(args.checkpoint).speaker
    jury, options = _jury(args)
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(args.manifest, cache=cache)
    options["rows"] = rows
    document = speech_lib.evaluate(speaker, corpus, jury, **options)
    return _show(args, document, speech_lib.render(document), "Generated speech", options["heard"])


def tokens(parser: argparse.ArgumentParser) -> Run:
    r"""What is left of speech after its tokens: word error, similarity, naturalness, signal.

        uniwav evaluate tokens --checkpoint runs/tokens --manifest held_out.tsv --seeds 0,1 \
            --fit_manifest other_speakers.tsv --out results/tokens.json

    Rows: real, round trip (through the codec), unquantised (generated from what the tokens
    quantise), each number of books with and without a voice (3 s of another clip of the speaker),
    and latents (the codec's latents in a residual quantiser of as many bits, which is fitted to
    --fit_manifest). Needs pip install "uniwav_jax[judges]".
    """
    _add_judged(parser, "tokenizer", "with texts and speakers")
    parser.add_argument("--fit_manifest", help="speech of other speakers, for the row latents")
    parser.add_argument("--rows", metavar="ROW;ROW", help='only these, as "2 books, voice;latents"')
    return _evaluate_tokens


def _evaluate_tokens(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.evaluation import tokens as tokens_lib

    model = api.load(args.checkpoint)
    model.require("tokenize")  # before the judges are loaded
    jury, options = _jury(args)
    options["fit_manifest"] = args.fit_manifest
    options["rows"] = args.rows.split(";") if args.rows else None
    document = tokens_lib.evaluate(model, args.manifest, jury, **options)
    return _show(args, document, tokens_lib.render(document), "Speech tokens", options["heard"])


def _add_judged(parser: argparse.ArgumentParser, task: str, what: str) -> None:
    """The options of judging generated speech."""
    from uniwav_jax.evaluation import judges

    parser.add_argument("--checkpoint", required=True, help=f"workdir of a run with task {task}")
    parser.add_argument("--manifest", required=True, help=f"held-out clips, {what}")
    parser.add_argument("--seeds", default="0", help="of the noise; commas: several")
    parser.add_argument("--limit", type=int, help="clips at most, spread over the manifest")
    for name, kind in (("guidance", float), ("temperature", float), ("steps", int)):
        parser.add_argument(f"--{name}", type=kind, help="default: that of the run")
    text = f"name or folder of a CTranslate2 model; default: {judges.WHISPER}"
    parser.add_argument("--whisper", default=judges.WHISPER, help=text)
    parser.add_argument("--out", help="JSON file to write, and its tables as .md")
    parser.add_argument("--page", metavar="FILE.html", help="page to listen to the first clips")
    parser.add_argument("--page_clips", type=int, default=20, help="on it; default: 20")


def _jury(args: argparse.Namespace) -> tuple["Judges", dict[str, Any]]:
    """The judges, and {"seeds", "settings" of the sampler, "limit", "heard": for the page}."""
    from uniwav_jax.evaluation import judges
    from uniwav_jax.evaluation.heard import Heard

    jury, absent = judges.load(args.whisper)
    for line in absent:
        files.report(line)
    given = {name: getattr(args, name) for name in ("guidance", "temperature", "steps")}
    settings = {name: value for name, value in given.items() if value is not None}
    seeds = [int(seed) for seed in args.seeds.split(",")]
    options = {"seeds": seeds, "settings": settings, "limit": args.limit}
    return jury, {**options, "heard": Heard(args.page_clips) if args.page else None}


def _show(
    args: argparse.Namespace, document: dict, table: str, title: str, heard: "Heard | None"
) -> int:
    """Write the document and its tables, print the tables, and write the page last."""
    _write(args.out, document)
    if args.out:
        pathlib.Path(args.out).with_suffix(".md").write_text(table, encoding="utf-8")
    print(table, end="")
    if heard:
        heard.write(args.page, title=title, table=table)
    return 0


def report(parser: argparse.ArgumentParser) -> Run:
    """Curves and a summary of runs, finished or not.

        uniwav report runs/mine --out report.html
        uniwav report runs/mine --reference runs/other --out report.html
        uniwav report runs/a runs/b --out folder

    If OUT ends in .html it is one page about one run, which needs no network: what the run was, its
    curves, its samples to look at and listen to. With references their curves are drawn behind
    those of the run, and a table says where it is below or above them.

    Otherwise OUT is a folder with
        curves.png     losses, perplexities, gradient norm and speed, all runs in one picture;
                       values on evaluation speech are dashed
        summary.json   first, best and last value of each metric
        summary.md     the same as tables
    """
    parser.add_argument("runs", nargs="*", metavar="WORKDIR", help="folders of runs")
    parser.add_argument("--workdir", nargs="+", default=[], help="the same")
    text = "workdir, metrics.jsonl or name of a model that ships; default: the one of the config"
    parser.add_argument("--reference", nargs="+", default=[], help=text)
    parser.add_argument("--out", required=True, help="page.html, or folder")
    return _report


def _report(args: argparse.Namespace) -> int:
    runs = [*args.runs, *args.workdir]
    if not runs:
        raise UserError("give the workdir of a run")
    if not args.out.endswith(".html"):
        if args.reference:
            raise UserError("--reference is for a page; give --out a name that ends in .html")
        from uniwav_jax.evaluation import report as report_lib

        report_lib.write(runs, args.out)
        return 0
    if len(runs) > 1:
        raise UserError("a page is about one run; give the others after --reference")
    from uniwav_jax.evaluation import run_page

    run_page.write(runs[0], args.out, references=args.reference)
    return 0


def _write(path: str | None, document: dict) -> None:
    if path:
        target = pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
