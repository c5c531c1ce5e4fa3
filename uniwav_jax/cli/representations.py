"""`uniwav features`, `uniwav encode` and `uniwav decode`."""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

CODEC = "codec folder, see uniwav import codec"


def features(parser: argparse.ArgumentParser) -> Run:
    """The encoder's states, their weighted sum or codes of audio, 50 frames a second.

    A file that cannot be read is named and left out; the others are done, and the status is 1.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    parser.add_argument("--checkpoint", required=True, help="workdir of a run, or its export")
    parser.add_argument("--out", required=True, help="folder for NAME.FORMAT")
    parser.add_argument(
        "--layers",
        required=True,
        help="0,6,12 (0: the first layer's input), sum, codes or teacher_codes",
    )
    parser.add_argument("--format", default="npz", choices=("npz", "npy", "array_record"))
    parser.add_argument(
        "--window", type=float, help="seconds computed at once; default: the training's longest"
    )
    return _features


def _features(args: argparse.Namespace) -> int:
    import numpy as np

    from uniwav_jax import api
    from uniwav_jax.inference import representations

    extractor = api.load(args.checkpoint).extractor(args.layers, window=args.window)
    sources, failed = files.find(args.sources, SUFFIXES), 0
    files.check_names([name for _, name in sources])
    with representations.writer(pathlib.Path(args.out), args.format) as write:
        for (path, name), frames in files.run(extractor, sources):
            if isinstance(frames, UserError):
                failed += files.report(frames)
                continue
            fields = {"frames": frames, "times": extractor.times(len(frames))}
            write(name, {**fields, "layers": np.array(extractor.layers)})
            print(f"{path}: {' x '.join(map(str, frames.shape))}")
    return int(failed > 0)


def encode(parser: argparse.ArgumentParser) -> Run:
    """Audio to a codec's latents, or codes with --codebooks: NAME.npz for each file.

    A file that cannot be read is named and left out; the others are done, and the status is 1.
    """
    _add_codec(parser)
    parser.add_argument("--codebooks", type=int, default=0, help="that quantise; 0: latents")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.inference import codec_files

        def work(codec: codec_files.FileCodec, source: str, target: pathlib.Path) -> int:
            return codec_files.encode_file(codec, source, target, stages=args.codebooks)

        return _each(args, SUFFIXES, ".npz", work)

    return run


def decode(parser: argparse.ArgumentParser) -> Run:
    """Latents or codes of `uniwav encode` to audio: NAME.wav, 16 bits, for each file.

    A file that cannot be read is named and left out; the others are done, and the status is 1.
    """
    _add_codec(parser)

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.inference import codec_files

        return _each(args, (".npz",), ".wav", codec_files.decode_file)

    return run


def _add_codec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    parser.add_argument("--codec", required=True, help=CODEC)
    parser.add_argument("--out", required=True, help="folder to write to")


def _each(
    args: argparse.Namespace, endings: tuple[str, ...], ending: str, work: Callable[..., Any]
) -> int:
    """Do `work(codec, source, target) -> samples` for each file; the exit status."""
    from uniwav_jax.inference import codec_files

    codec = codec_files.FileCodec.load(args.codec)
    out, failed = pathlib.Path(args.out), 0
    sources = files.find(args.sources, endings)
    files.check_names([name for _, name in sources])
    for source, name in progress(sources, len(sources)):
        target = (out / name).with_suffix(ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            samples = work(codec, source, target)
            print(f"{source} -> {target} ({samples} samples)")
        except UserError as error:
            failed += files.report(error)
    return int(failed > 0)
