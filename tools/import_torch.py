#!/usr/bin/env python
"""Make a checkpoint of a PyTorch model, to fine-tune it here.

    python tools/import_torch.py exported --out runs/imported
    python -m uniwav_jax.main --config=configs/asr_demo.py --config.init_from=runs/imported ...

The source is a folder of tools/export_torch.py, or a checkpoint file (.safetensors, .pt) of DinoSR
or SpidR, whose encoder is taken with its convolutional front end. What the source has not, such as
the optimizer's state, starts fresh. The settings that a run needs to go on from it are printed.
"""

import argparse

from uniwav_jax.checkpoint import compatibility, reader
from uniwav_jax.config import Config
from uniwav_jax.errors import run_tool
from uniwav_jax.export import dinosr, read


def main(argv: list[str]) -> int:
    """Read, write, say what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder of an export, or file of DinoSR or SpidR")
    parser.add_argument("--out", required=True, help="workdir to make")
    parser.add_argument("--network", choices=dinosr.NETWORKS, help="of a file; default: student")
    parser.add_argument("--heads", type=int, help="of a file; default: one for 64 channels")
    parser.add_argument(
        "--gain", type=float, help=f"of a file: the waveform is multiplied; default {dinosr.GAIN:g}"
    )
    args = parser.parse_args(argv)
    options = {n: getattr(args, n) for n in ("network", "heads", "gain") if getattr(args, n)}
    step = read.to_checkpoint(args.source, args.out, **options)
    print(f"{args.out}: checkpoint of {args.source}, step {step}; a run goes on from it with")
    checkpoint = reader.open(args.out)
    arrays, meta = checkpoint.arrays("params"), checkpoint.meta
    parts = [part for name, part in checkpoint.task.parts.items() if name in arrays["params"]]
    meaning = {"features"}.union(*(part.fields for part in parts))
    usual = compatibility.values_now(Config())
    for field, value in compatibility.values_then(meta).items():
        needed = field == "features.codec" or compatibility.matters(field, meaning)
        # The recipes have encoders of several sizes, and mostly the usual features.
        if needed and (field.startswith("model.") or value != usual[field]):
            print(f"  --config.{field}={value}")
    print(f"  --config.init_from={args.out}")
    return 0


if __name__ == "__main__":
    run_tool(main)
