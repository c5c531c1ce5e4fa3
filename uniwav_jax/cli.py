"""The console script `uniwav`: what a trained model or a codec does with files.

    uniwav encode FILE|FOLDER ... --codec CODEC --out FOLDER    audio -> NAME.npz
    uniwav decode FILE|FOLDER ... --codec CODEC --out FOLDER    NAME.npz -> NAME.wav
    uniwav roundtrip FILE|FOLDER ... --codec CODEC              how well the codec keeps speech

A file that cannot be read is named and left out; the others are done, and the status is 1.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
from rich.progress import track

from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.evaluation import bootstrap, signal
from uniwav_jax.inference import codec as codec_lib

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
    args = parser.parse_args(argv)
    return args.run(args)


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
    means = {}
    for name in sorted({name for scores in clips.values() for name in scores}):
        values = np.array([[scores[name]] for scores in clips.values() if name in scores])
        counts = np.concatenate([values, np.ones_like(values)], axis=1)
        low, high = bootstrap.interval(counts, lambda total: total[0] / total[1])
        means[name] = {"mean": values.mean(), "low": low, "high": high, "clips": len(values)}
        print(f"{name:>14} {values.mean():7.3f}  ({low:.3f} to {high:.3f}, {len(values)} clips)")
    if args.out:
        document = {
            "codec": codec.digest,
            "codebooks": args.codebooks,
            "noise": args.noise,
            "means": means,
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
