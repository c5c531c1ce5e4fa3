#!/usr/bin/env python
"""Make a checkpoint of a PyTorch model, to fine-tune it here.

    python tools/import_torch.py exported --out runs/imported
    python -m uniwav_jax.main --config=configs/asr_demo.py --config.init_from=runs/imported ...

The source is a folder of tools/export_torch.py, or a checkpoint file (.safetensors, .pt) of DinoSR
or SpidR, whose encoder is taken with its convolutional front end. What the source has not, such as
the optimizer's state, starts fresh. The settings that a run needs to go on from it are printed.
"""

import argparse
import json

from uniwav_jax.config import default_config
from uniwav_jax.errors import run_tool
from uniwav_jax.export import dinosr, read
from uniwav_jax.train import checkpoint


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
    ours = checkpoint.load_meta(args.out)["config"]
    usual = json.loads(default_config("base").to_json())
    for part in ("features", "model.encoder"):
        node, default = ours, usual
        for name in part.split("."):
            node, default = node[name], default[name]
        for name, value in node.items():
            if value != default[name]:
                print(f"  --config.{part}.{name}={value}")
    print(f"  --config.init_from={args.out}")
    return 0


if __name__ == "__main__":
    run_tool(main)
