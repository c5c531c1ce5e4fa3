"""Import a neural codec into a folder that this project reads.

    python tools/import_codec.py SOURCE --out FOLDER

SOURCE is one of
    a folder with Lyra's soundstream_encoder.tflite, lyragan.tflite and quantizer.tflite
    a folder of transformers' EncodecModel.save_pretrained
    a checkpoint of facebookresearch/encodec or audiocraft (.th, .pt, .bin, .safetensors)

The tool ends with an error that names the tensor if anything is left over, missing or misshapen.
.th, .pt and .bin need torch and are read as plain tensors only; .tflite needs the extra [lyra].
What a bare state dict does not tell can be given: --set causal=false --set sample_rate=16000
"""

import argparse
import json
import pathlib
from typing import Any

import jax

from uniwav_jax.codec import files, importers, lyra_tflite
from uniwav_jax.errors import UserError, run_tool


def main(argv: list[str]) -> int:
    """Read, write, say what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--licence", default="as the source's", help="of the weights, to be kept")
    args = parser.parse_args(argv)

    overrides = dict(map(_setting, args.set))
    if (pathlib.Path(args.source) / lyra_tflite.FILES["encoder"]).exists():
        if overrides:
            raise UserError("--set is not for Lyra, whose structure is fixed")
        config, params = lyra_tflite.load(args.source)
    else:
        config, params = importers.load(args.source, **overrides)
    info = {"source": pathlib.Path(args.source).name, "licence": args.licence}
    files.save(args.out, config, params, info=info)
    numbers = sum(array.size for array in jax.tree.leaves(params["network"]))
    print(
        f"{args.out}: {config}\n{numbers / 1e6:.1f} M parameters, {config.sample_rate} Hz,"
        f" {config.sample_rate / config.hop:g} frames/s of {config.dimension} numbers"
    )
    return 0


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        return name, json.loads(value) if equals else None
    except ValueError:
        return name, value  # a word, such as padding=constant


if __name__ == "__main__":
    run_tool(main)
