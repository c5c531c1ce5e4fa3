"""The console script `uniwav`: what a trained model or a codec does with files.

    uniwav transcribe FILE|FOLDER ... --checkpoint DIR          speech -> text
    uniwav align MANIFEST|FOLDER --checkpoint DIR --out FOLDER  speech and text -> when
    uniwav encode FILE|FOLDER ... --codec CODEC --out FOLDER    audio -> NAME.npz
    uniwav decode FILE|FOLDER ... --codec CODEC --out FOLDER    NAME.npz -> NAME.wav
    uniwav features FILE|FOLDER ... --checkpoint DIR --layers 4 --out FOLDER   states -> NAME.npz
    uniwav export --checkpoint DIR --out FOLDER                 checkpoint -> PyTorch
    uniwav roundtrip FILE|FOLDER ... --codec CODEC              how well the codec keeps speech

A file that cannot be read is named and left out; the others are done, and the status is 1.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.progress import track

from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.evaluation import signal
from uniwav_jax.export import command as command_lib
from uniwav_jax.inference import align as align_lib
from uniwav_jax.inference import codec_files as codec_lib
from uniwav_jax.inference import recognize, transcripts
from uniwav_jax.inference import representations as features_lib
from uniwav_jax.text import textgrid

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def main(argv: list[str] | None = None) -> int:
    """Parse, run one command; see the module docstring."""
    parser = argparse.ArgumentParser(
        prog="uniwav", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, purpose in (
        ("encode", encode, "audio to latents, or codes with --codebooks"),
        ("decode", decode, "latents or codes to 16-bit wav"),
        ("roundtrip", roundtrip, "PESQ, STOI, mel distance and, where installed, DNSMOS"),
    ):
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
        command.add_argument("--codec", required=True, help="folder of tools/import_codec.py")
        out = "JSON file of scores" if name == "roundtrip" else "folder to write to"
        command.add_argument("--out", required=name != "roundtrip", help=out)
        if name != "decode":
            command.add_argument(
                "--codebooks", type=int, default=0, help="quantise with so many; 0: do not"
            )
        if name == "roundtrip":
            spoilt = "Gaussian noise on latents, as a share of each channel's standard deviation"
            command.add_argument("--noise", type=float, default=0.0, help=spoilt)
        command.set_defaults(run=run)
    _add_transcribe(commands)
    _add_align(commands)
    _add_features(commands)
    purpose = "a checkpoint for PyTorch and transformers"
    command_lib.add_arguments(commands.add_parser("export", help=purpose, description=purpose))
    args = parser.parse_args(argv)
    return args.run(args)


def _add_transcribe(commands: Any) -> None:
    command = commands.add_parser("transcribe", help="speech to text", description="speech to text")
    command.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    command.add_argument("--checkpoint", required=True, help="workdir of a run with task asr")
    command.add_argument(
        "--out", help="folder for NAME.FORMAT; default: plain text to the terminal"
    )
    command.add_argument("--format", default="txt", choices=sorted(transcripts.FORMATS))
    command.add_argument("--lm", help="n-gram of words, ARPA or kenlm's binary: beam search")
    command.add_argument("--beam", type=int, default=0, help="hypotheses kept; 0: greedy or 100")
    weight, score = recognize.LM_WEIGHT, recognize.WORD_SCORE
    command.add_argument("--lm_weight", type=float, default=weight, help=recognize.WEIGHT_HELP)
    command.add_argument("--word_score", type=float, default=score, help=recognize.SCORE_HELP)
    command.set_defaults(run=transcribe)


def _add_align(commands: Any) -> None:
    purpose = "when each word and letter or phone of a known text is said"
    command = commands.add_parser("align", help=purpose, description=purpose)
    text_of = "manifest with a column text, or folder of audio with NAME.txt or NAME.lab beside it"
    command.add_argument("source", metavar="MANIFEST|FOLDER", help=text_of)
    command.add_argument("--checkpoint", required=True, help="workdir of a run with task asr")
    command.add_argument("--out", required=True, help="folder for NAME.TextGrid and NAME.tsv")
    command.add_argument("--reference", help="folder of NAME.TextGrid to compare with")
    command.set_defaults(run=align)


def _add_features(commands: Any) -> None:
    purpose = "what the encoder makes of audio, 50 frames a second"
    command = commands.add_parser("features", help=purpose, description=purpose)
    command.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    command.add_argument("--checkpoint", required=True, help="workdir of a run")
    command.add_argument("--out", required=True, help="folder for NAME.FORMAT")
    command.add_argument(
        "--layers",
        required=True,
        help="0,6,12 (0: the first layer's input), sum, codes or teacher_codes",
    )
    command.add_argument("--format", default="npz", choices=[*features_lib.FORMATS, "array_record"])
    command.add_argument(
        "--window", type=float, help="seconds heard at once; default: the training's longest"
    )
    command.set_defaults(run=features)


def features(args: argparse.Namespace) -> int:
    """Audio to NAME.npz, NAME.npy or one features.array_record."""
    layers = features_lib.choice(args.layers)
    extractor = features_lib.Extractor.load(args.checkpoint, layers, window=args.window)
    rate, failed, out = extractor.features.sample_rate, 0, pathlib.Path(args.out)
    sources = dict(enumerate(_sources(args.sources, AUDIO)))
    files = ((n, codec_lib.read_blocks(path, sample_rate=rate)) for n, (path, _) in sources.items())
    with features_lib.writer(out, args.format) as write:
        for number, frames in track(
            extractor.run(files), "", len(sources), disable=not _terminal()
        ):
            path, name = sources[number]
            if isinstance(frames, UserError):
                failed += _report(UserError(f"{path}: {frames}"))
                continue
            fields = {"frames": frames, "times": extractor.times(len(frames))}
            write(name, {**fields, "layers": np.array(layers)})
            print(f"{path}: {' x '.join(map(str, frames.shape))}")
    return int(failed > 0)


def align(args: argparse.Namespace) -> int:
    """Audio and its text to NAME.TextGrid and NAME.tsv."""
    recognizer = recognize.Recognizer.load(args.checkpoint)
    kind = "letters" if recognizer.config.text.units == "letters" else "phones"
    rate, failed = recognizer.features.sample_rate, 0
    errors: dict[str, list[np.ndarray]] = {"words": [], kind: []}
    pairs = align_lib.pairs(args.source, AUDIO)
    texts = dict(enumerate(pairs))
    files = ((n, codec_lib.read_blocks(path, sample_rate=rate)) for n, (path, *_) in texts.items())
    heard = recognizer.run(files)
    for number, log_probs in track(heard, "", len(texts), disable=not _terminal()):
        path, name, said = texts[number]
        try:
            if isinstance(log_probs, UserError):
                raise log_probs
            found = align_lib.align(recognizer, log_probs, said)
        except UserError as error:
            failed += _report(UserError(f"{path}: {error}"))
            continue
        target = pathlib.Path(args.out) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        tiers = {"words": found.words, kind: found.tokens}
        rows = {
            tier: [(word.start, word.end, word.text) for word in words]
            for tier, words in tiers.items()
        }
        seconds = len(log_probs) / recognizer.frame_rate
        textgrid.write(str(target.with_suffix(".TextGrid")), rows, seconds)
        target.with_suffix(".tsv").write_text(transcripts.tsv(found.words), encoding="utf-8")
        print(f"{path}: ln p {found.score:.2f} a frame")
        reference = pathlib.Path(args.reference or "", f"{target.stem}.TextGrid")
        if args.reference and reference.exists():
            for tier in errors.keys() - {"letters"}:
                error = textgrid.boundary_errors(rows[tier], textgrid.tier(str(reference), tier))
                errors[tier] += [] if error is None else [error]
    for tier, found_errors in errors.items():
        if found_errors:
            off = np.abs(np.concatenate(found_errors))
            print(
                f"boundaries of {tier} in {len(found_errors)} clips: off by {np.median(off):.3f} s"
                f" in the median, {np.mean(off <= 0.05):.1%} within 50 ms"
            )
    return int(failed > 0)


def transcribe(args: argparse.Namespace) -> int:
    """Audio files of any length to text with times."""
    recognizer = recognize.Recognizer.load(args.checkpoint)
    words_of = recognizer.greedy
    if args.lm or args.beam:
        words_of = recognize.Beam(
            recognizer,
            args.lm,
            weight=args.lm_weight,
            word_score=args.word_score,
            width=args.beam or 100,
        ).words
    rate, write = recognizer.features.sample_rate, transcripts.FORMATS[args.format]
    sources, failed = list(_sources(args.sources, AUDIO)), 0
    files = ((item, codec_lib.read_blocks(item[0], sample_rate=rate)) for item in sources)
    heard = recognizer.run(files)
    for (source, name), log_probs in track(heard, "", len(sources), disable=not _terminal()):
        if isinstance(log_probs, UserError):
            failed += _report(log_probs)
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


def encode(args: argparse.Namespace) -> int:
    """Audio files to NAME.npz."""
    codec = codec_lib.FileCodec(args.codec)
    return _each(
        args,
        AUDIO,
        ".npz",
        lambda source, target: codec_lib.encode_file(codec, source, target, stages=args.codebooks),
    )


def decode(args: argparse.Namespace) -> int:
    """NAME.npz to NAME.wav."""
    codec = codec_lib.FileCodec(args.codec)
    return _each(
        args,
        (".npz",),
        ".wav",
        lambda source, target: codec_lib.decode_file(codec, source, target),
    )


def roundtrip(args: argparse.Namespace) -> int:
    """Scores of encoding and decoding, per clip and their means with 95 % intervals.

    A measure that cannot score a clip leaves it out; each mean comes with how many it covers.

    With noise they tell how forgiving the latents are of a model that generates them.
    """
    if args.noise and args.codebooks:
        raise UserError("--noise is put on latents, not on codes; leave out --codebooks")
    codec, random = codec_lib.FileCodec(args.codec), np.random.default_rng(0)
    rate = codec.config.sample_rate
    for name in signal.missing():
        print(f"note: without {name}; pip install {signal.PACKAGES[name]}", file=sys.stderr)
    clips, failed = {}, 0
    for source, _ in track(list(_sources(args.sources, AUDIO)), "", disable=not _terminal()):
        try:
            audio = np.concatenate(list(codec_lib.read_blocks(source, sample_rate=rate)))
        except UserError as error:
            failed += _report(error)
            continue
        value = codec.encode([audio], stages=args.codebooks)
        if args.noise:
            spoil = args.noise * value.std(0) * random.standard_normal(value.shape)
            value = value + spoil.astype(np.float32)
        decoded = np.concatenate(list(codec.decode(value)))
        clips[source] = signal.scores(audio, decoded, sample_rate=rate)
    if not clips:
        raise UserError("no clip could be read")
    means = signal.means(list(clips.values()), signal.measures(rate))
    for name, mean in means.items():
        print(f"{name:>14} {mean}")
    if args.out:
        document = {
            "codec": codec.digest,
            "codebooks": args.codebooks,
            "noise": args.noise,
            "means": {name: dataclasses.asdict(mean) for name, mean in means.items()},
            "clips": clips,
        }
        pathlib.Path(args.out).write_text(json.dumps(document, indent=2) + "\n")
    return int(failed > 0)


def _each(
    args: argparse.Namespace,
    endings: tuple[str, ...],
    ending: str,
    work: Callable[[str, pathlib.Path], int],
) -> int:
    out, failed = pathlib.Path(args.out), 0
    for source, name in track(list(_sources(args.sources, endings)), "", disable=not _terminal()):
        target = (out / name).with_suffix(ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            samples = work(source, target)
            print(f"{source} -> {target} ({samples} samples)")
        except UserError as error:
            failed += _report(error)
    return int(failed > 0)


def _sources(given: list[str], endings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Files with one of the endings, and their names below what was given."""
    for source in map(pathlib.Path, given):
        if source.is_dir():
            found = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in endings]
            if not found:
                raise UserError(f"no {', '.join(endings)} below {source}")
            yield from ((str(path), str(path.relative_to(source))) for path in found)
        elif source.exists():
            yield str(source), source.name
        else:
            raise UserError(f"{source} does not exist")


def _report(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _terminal() -> bool:
    return sys.stdout.isatty()


def script() -> None:
    """Entry point of the console script."""
    run_tool(main)


if __name__ == "__main__":
    script()
