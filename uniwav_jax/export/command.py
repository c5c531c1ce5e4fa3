"""`uniwav export` and tools/export_torch.py."""

import argparse
import importlib.util
import sys

import numpy as np

from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError
from uniwav_jax.export import write

SECONDS = 6.0  # of a clip that is compared


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same parser."""
    parser.add_argument("--checkpoint", required=True, help="workdir or step folder")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--encoder", default="student", choices=("student", "teacher"))
    parser.add_argument("--decoder", default="average", choices=("average", "trained"))
    parser.add_argument("--data", help="for the model card: what was trained on, and its licences")
    parser.add_argument("--licence", help="for the model card: of the weights")
    parser.add_argument("--check", action="store_true", help="compare with the checkpoint")
    parser.add_argument("--audio", nargs="+", help="files to compare on; default: noise")
    parser.add_argument("--onnx", action="store_true", help="also encoder.onnx (and ctc.onnx)")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Export, say where, check."""
    for option, module, extra in (("check", "torch", "torch"), ("onnx", "onnxscript", "onnx")):
        if getattr(args, option) and importlib.util.find_spec(module) is None:
            raise UserError(f'--{option} needs {module}: pip install -e ".[{extra}]"')
    notes = {name: getattr(args, name) for name in ("data", "licence") if getattr(args, name)}
    # Chosen once: a run that goes on saving changes nothing in what is exported and compared.
    args.checkpoint = str(reader.find(args.checkpoint))
    write.export(args.checkpoint, args.out, encoder=args.encoder, decoder=args.decoder, notes=notes)
    print(f"{args.out}: {args.checkpoint}, for PyTorch; see its README.md")
    if args.onnx:
        from uniwav_jax.export import onnx

        print("\n".join(map(str, onnx.write(args.out))))
    return check(args) if args.check else 0


def check(args: argparse.Namespace) -> int:
    """Print the comparison; 1 where a bound is passed."""
    from uniwav_jax.export import check as check_lib

    rate = reader.open(args.checkpoint).config.features.sample_rate
    audio, samples = clips(args.audio or [], rate)
    rows = check_lib.compare(args.checkpoint, args.out, audio, samples)
    width = max(len(name) for name, *_ in rows)
    print(f"{'relative difference':{width}}  largest  bound")
    failed = 0
    for name, apart, bound in rows:
        failed += not apart <= bound
        print(f"{name:{width}}  {apart:7.1e}  {bound:g}{'' if apart <= bound else '  FAILED'}")
    if failed:
        print(f"error: {failed} of {len(rows)} differ by more than their bound", file=sys.stderr)
    return int(failed > 0)


def clips(paths: list[str], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The first seconds of each file, float32 [B, S], and their samples [B]; or three of noise."""
    from uniwav_jax.inference import codec_files as codec_lib

    longest = round(SECONDS * rate)
    if paths:
        rows = [
            np.concatenate(list(codec_lib.read_blocks(path, sample_rate=rate)))[:longest]
            for path in paths
        ]
    else:
        random = np.random.default_rng(0)
        rows = [0.1 * random.standard_normal(longest // n, np.float32) for n in (1, 2, 3)]
    samples = np.array([len(row) for row in rows])
    audio = np.zeros((len(rows), samples.max()), np.float32)
    for target, row in zip(audio, rows, strict=True):
        target[: len(row)] = row
    return audio, samples
