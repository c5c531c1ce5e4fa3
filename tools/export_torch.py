#!/usr/bin/env python
"""Export a checkpoint for PyTorch: safetensors, config.json, the model's code, a model card.

    python tools/export_torch.py --checkpoint runs/demo --out exported --check

Works on a CPU from a checkpoint of any topology. --check compares the export with the checkpoint on
speech (or on noise, without --audio), layer by layer, prints the table and fails where a bound is
passed; it needs `pip install -e ".[torch]"`. `uniwav export` is the same.
"""

import argparse

from uniwav_jax.errors import run_tool
from uniwav_jax.export import command


def main(argv: list[str]) -> int:
    """Export, check; see the module docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args = command.add_arguments(parser).parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    run_tool(main)
