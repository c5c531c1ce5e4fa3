"""Take the codec out of a training run: a folder that features, tools and `uniwav` read.

    python tools/export_codec.py WORKDIR --out FOLDER

The running average of the weights is taken, which is what evaluation hears.
"""

import argparse

from uniwav_jax.checkpoint import reader
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.models import quantizer


def main(argv: list[str]) -> int:
    """Read, write, say what it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workdir", help="a run of task=codec, or one of its step folders")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--licence", default="not stated", help="of the weights")
    args = parser.parse_args(argv)

    checkpoint = reader.open(args.workdir)
    if "generator" not in checkpoint.task.parts:
        raise UserError(f"{args.workdir} is a run of task {checkpoint.task.name}, not of a codec")
    parts, config = checkpoint.arrays("ema", "state"), checkpoint.config
    params = {"network": parts["ema"]["generator"]}
    if config.codec.structure.codebooks:
        params["codebooks"] = quantizer.codewords(parts["state"]["codebooks"])
    info = {"trained_steps": checkpoint.step, "licence": args.licence}
    files.save(args.out, config.codec.structure, params, info=info, dtype=args.dtype)
    print(f"{args.out}: the codec of {args.workdir} after {checkpoint.step} steps, {args.dtype}")
    return 0


if __name__ == "__main__":
    run_tool(main)
