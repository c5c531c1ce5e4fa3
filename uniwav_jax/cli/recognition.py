"""`uniwav transcribe` and `uniwav align`."""

import argparse
import pathlib

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE

CHECKPOINT = "recogniser: workdir of a run with task asr, or its export"
LM = "n-gram model of words, ARPA or kenlm's binary, see uniwav data lm"
LM_WEIGHT_HELP = (
    "of the n-gram's natural log-probabilities, beside the network's: fairseq's and flashlight's"
    f" weight, which is of log10, divided by ln 10; default: 2 / ln 10 = {LM_WEIGHT:.2f}"
)
WORD_SCORE_HELP = f"added for each word, in natural logarithms; default: {WORD_SCORE:g}"


def transcribe(parser: argparse.ArgumentParser) -> Run:
    """Speech to text, for audio files of any length.

    A file that cannot be read is named and left out; the others are done, and the status is 1.
    """
    from uniwav_jax.inference import transcripts

    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT)
    parser.add_argument("--out", help="folder for NAME.FORMAT; default: print the text")
    parser.add_argument("--format", default="txt", choices=sorted(transcripts.FORMATS))
    parser.add_argument("--lm", help=f"{LM}: beam search")
    parser.add_argument("--beam", type=int, default=0, help="hypotheses kept; 0: greedy or 100")
    parser.add_argument("--lm_weight", type=float, default=LM_WEIGHT, help=LM_WEIGHT_HELP)
    parser.add_argument("--word_score", type=float, default=WORD_SCORE, help=WORD_SCORE_HELP)
    return _transcribe


def _transcribe(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.inference import transcripts

    model = api.load(args.checkpoint)
    options = {"lm_weight": args.lm_weight, "word_score": args.word_score}
    words_of = model.decoder(args.lm, beam=args.beam, **options)
    write = transcripts.FORMATS[args.format]
    sources, failed = files.find(args.sources, SUFFIXES), 0
    if args.out:
        files.check_names([name for _, name in sources])
    for (source, name), log_probs in files.run(model.recognizer, sources):
        if isinstance(log_probs, UserError):
            failed += files.report(log_probs)
            continue
        content = write(words_of(log_probs))
        if args.out:
            target = (pathlib.Path(args.out) / name).with_suffix(f".{args.format}")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".part")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(target)
            print(f"{source} -> {target}")
        else:
            print(f"{source}: {content}" if args.format == "txt" else content, end="")
    return int(failed > 0)


def align(parser: argparse.ArgumentParser) -> Run:
    """Times of each word, and of each letter or phone, of a known text.

    The texts are those of a manifest, or NAME.txt or NAME.lab beside the audio of a folder. Writes
    NAME.TextGrid and NAME.tsv, and prints the natural logarithm of the probability per frame, which
    is low where the text is not what is spoken. With --reference it compares word and phone
    boundaries with other TextGrids. Needs pip install "uniwav_jax[align]".
    """
    parser.add_argument("source", metavar="MANIFEST|FOLDER")
    parser.add_argument("--checkpoint", default="mini-asr", help=f"{CHECKPOINT}; default: mini-asr")
    parser.add_argument("--out", required=True, help="folder for NAME.TextGrid and NAME.tsv")
    parser.add_argument("--reference", help="folder of NAME.TextGrid to compare with")
    return _align


def _align(args: argparse.Namespace) -> int:
    import numpy as np

    from uniwav_jax import api
    from uniwav_jax.audio.reader import measure
    from uniwav_jax.data import partners
    from uniwav_jax.inference import align as align_lib
    from uniwav_jax.inference import transcripts
    from uniwav_jax.text import textgrid

    recognizer = api.load(args.checkpoint).recognizer
    kind = "letters" if recognizer.config.text.units == "letters" else "phones"
    errors: dict[str, list[np.ndarray]] = {"words": [], kind: []}
    failed = 0
    items = align_lib.pairs(args.source, SUFFIXES)
    names = [name for _, name, _ in items]
    clips = dict.fromkeys((path, name) for path, name, _ in items)  # a row may be repeated
    files.check_names(name for _, name in clips)
    references = {}
    if args.reference:
        references = dict(zip(names, partners.match(names, args.reference, ".TextGrid")))
    for (path, name, text), log_probs in files.run(recognizer, items):
        if isinstance(log_probs, UserError):  # which names the file
            failed += files.report(log_probs)
            continue
        try:
            found = align_lib.align(recognizer, log_probs, text)
        except UserError as error:
            failed += files.report(f"{path}: {error}")
            continue
        target = pathlib.Path(args.out) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        tiers = {"words": found.words, kind: found.tokens}
        rows = {
            tier: [(word.start, word.end, word.text) for word in words]
            for tier, words in tiers.items()
        }
        samples, rate = measure(path)
        textgrid.write(str(target.with_suffix(".TextGrid")), rows, samples / rate)
        target.with_suffix(".tsv").write_text(transcripts.tsv(found.words), encoding="utf-8")
        print(f"{path}: ln p {found.score:.2f} a frame")
        if reference := references.get(name):
            for tier in errors.keys() - {"letters"}:
                error = textgrid.boundary_errors(rows[tier], textgrid.tier(reference, tier))
                errors[tier] += [] if error is None else [error]
    for tier, found_errors in errors.items():
        if found_errors:
            off = np.abs(np.concatenate(found_errors))
            print(
                f"boundaries of {tier} in {len(found_errors)} clips: off by {np.median(off):.3f} s"
                f" in the median, {np.mean(off <= 0.05):.1%} within 50 ms"
            )
    return int(failed > 0)
