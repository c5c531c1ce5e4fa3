#!/usr/bin/env python
"""Make a checkpoint of a PyTorch model, to fine-tune it here.

    python tools/import_torch.py exported --out runs/imported
    python -m uniwav_jax.main --config=configs/asr_demo.py --config.init_from=runs/imported ...

The source is a folder of tools/export_torch.py. What it has not, such as the optimizer's state,
starts fresh.
"""

import argparse

from uniwav_jax.errors import run_tool
from uniwav_jax.export import read


def main(argv: list[str]) -> int:
    """Read, write, say what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder of an export")
    parser.add_argument("--out", required=True, help="workdir to make")
    args = parser.parse_args(argv)
    step = read.to_checkpoint(args.source, args.out)
    print(f"{args.out}: checkpoint of {args.source}, step {step}; use it with --config.init_from")
    return 0


if __name__ == "__main__":
    run_tool(main)
