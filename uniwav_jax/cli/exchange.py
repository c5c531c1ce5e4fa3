"""`uniwav export` and `uniwav import ...`: models to and from other programs."""

import argparse
import importlib.util
import json
import pathlib
from typing import Any

from uniwav_jax.cli import Run
from uniwav_jax.errors import UserError

# Options of a model's export.
MODEL = ("encoder", "decoder", "data", "weights", "base", "without", "check", "audio", "onnx")


def export(parser: argparse.ArgumentParser) -> Run:
    """Export a checkpoint: a model for PyTorch and transformers, or a codec as a codec folder.

    A model becomes safetensors, config.json, the model's code and a model card; torch.hub and
    transformers load the folder, and so does uniwav_jax.load. A run of task codec becomes the
    folder that `uniwav encode` and config.features.codec take, with the running average of the
    weights, which evaluation uses too. A CPU is enough, whatever the checkpoint was trained on.

    --weights writes a small folder for uniwav_jax.load alone: weights in float16 without the codec,
    as models ship with the package.

    --check compares a model's export with the checkpoint on speech (on noise without --audio),
    layer by layer, prints the table and fails where a bound is exceeded; it needs
    pip install "uniwav_jax[torch]".
    """
    parser.add_argument("--checkpoint", required=True, help="workdir or step folder")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--licence", help="of the weights, for the description")
    model = parser.add_argument_group("a model")
    model.add_argument("--encoder", choices=("student", "teacher"), help="default: student")
    model.add_argument("--decoder", choices=("average", "trained"), help="default: average")
    model.add_argument("--data", help="for the model card: training data and its licences")
    model.add_argument("--weights", action="store_true", help="float16 for uniwav_jax, no code")
    model.add_argument("--base", default="", help="weights beside --out: store the differences")
    model.add_argument("--without", default="", help="parts to leave out of --weights, as decoder")
    model.add_argument("--check", action="store_true", help="compare with the checkpoint")
    model.add_argument("--audio", nargs="+", help="files to compare on; default: noise")
    model.add_argument("--onnx", action="store_true", help="also encoder.onnx (and ctc.onnx)")
    codec = parser.add_argument_group("a codec")
    codec.add_argument("--dtype", choices=("float16", "float32"), help="default: float16")
    return _export


def _export(args: argparse.Namespace) -> int:
    for option, module, extra in (("check", "torch", "torch"), ("onnx", "onnxscript", "onnx")):
        if getattr(args, option) and importlib.util.find_spec(module) is None:
            raise UserError(f'--{option} needs {module}: pip install "uniwav_jax[{extra}]"')
    from uniwav_jax.checkpoint import reader

    # The step is chosen once: a run that goes on saving changes nothing in what is exported.
    checkpoint = str(reader.find(args.checkpoint))
    is_codec = "generator" in reader.open(checkpoint).task.parts
    for option in MODEL if is_codec else ("dtype",):
        if getattr(args, option):
            kind = "codec" if is_codec else "model"
            raise UserError(f"--{option} has no meaning for {args.checkpoint}, which is a {kind}")
    if is_codec:
        return _export_codec(checkpoint, args)
    if (args.base or args.without) and not args.weights:
        raise UserError("--base and --without need --weights")
    if args.weights:
        from uniwav_jax.checkpoint import weights

        parts = [part for part in args.without.split(",") if part]
        size = weights.save(checkpoint, args.out, base=args.base, without=parts)
        print(f"{args.out}: {size} bytes, for uniwav_jax.load")
        return 0
    from uniwav_jax.export import write

    stated = {name: getattr(args, name) for name in ("data", "licence") if getattr(args, name)}
    parts = {name: getattr(args, name) for name in ("encoder", "decoder") if getattr(args, name)}
    write.export(checkpoint, args.out, notes=stated, **parts)
    print(f"{args.out}: {checkpoint}, for PyTorch; see its README.md")
    if args.onnx:
        from uniwav_jax.export import onnx

        print("\n".join(map(str, onnx.write(args.out))))
    if not args.check:
        return 0
    from uniwav_jax.export import check

    return int(check.report(checkpoint, args.out, args.audio or ()) > 0)


def _export_codec(checkpoint: str, args: argparse.Namespace) -> int:
    from uniwav_jax.export import codec_folder

    dtype = args.dtype or "float16"
    options = {"dtype": dtype, "licence": args.licence or "not stated"}
    updates = codec_folder.export(checkpoint, args.out, **options)
    print(f"{args.out}: the codec of {args.checkpoint} after {updates} updates, {dtype}")
    return 0


def model(parser: argparse.ArgumentParser) -> Run:
    """Make a checkpoint of a PyTorch model, to fine-tune it here.

        uniwav import model exported --out runs/imported
        uniwav train --config=asr_demo --config.init_from=runs/imported ...

    SOURCE is a folder of `uniwav export`, or a checkpoint file (.safetensors, .pt) of DinoSR or
    SpidR, whose encoder is taken with its convolutional front end. What the source does not have,
    such as the optimizer's state, starts fresh. The settings that a run needs to continue from it
    are printed.
    """
    parser.add_argument("source", metavar="SOURCE", help="folder of an export, or file of a model")
    parser.add_argument("--out", required=True, help="workdir to make")
    # The names of dinosr.NETWORKS, which would import JAX.
    parser.add_argument("--network", choices=("student", "teacher"), help="of a file")
    parser.add_argument("--heads", type=int, help="of a file; default: one for 64 channels")
    parser.add_argument("--gain", type=float, help="of a file: factor of the waveform; default: 16")
    return _model


def _model(args: argparse.Namespace) -> int:
    from uniwav_jax.checkpoint import compatibility, reader
    from uniwav_jax.config import Config
    from uniwav_jax.export import read

    options = {n: getattr(args, n) for n in ("network", "heads", "gain") if getattr(args, n)}
    step = read.to_checkpoint(args.source, args.out, **options)
    print(f"{args.out}: checkpoint of {args.source}, step {step}; a run continues from it with")
    checkpoint = reader.open(args.out)
    arrays, meta = checkpoint.arrays("params"), checkpoint.meta
    parts = [part for name, part in checkpoint.task.parts.items() if name in arrays["params"]]
    meaning = {"features"}.union(*(part.fields for part in parts))
    usual = compatibility.values_now(Config())
    for field, value in compatibility.values_then(meta).items():
        needed = field == "features.codec" or compatibility.matters(field, meaning)
        # The configs have encoders of several sizes, and mostly the usual features.
        if needed and (field.startswith("model.") or value != usual[field]):
            print(f"  --config.{field}={value}")
    print(f"  --config.init_from={args.out}")
    return 0


def codec(parser: argparse.ArgumentParser) -> Run:
    """Import a neural codec into a folder that this package reads.

    SOURCE is one of
        a folder with Lyra's soundstream_encoder.tflite, lyragan.tflite and quantizer.tflite
        a folder of transformers' EncodecModel.save_pretrained
        a checkpoint of facebookresearch/encodec or audiocraft (.th, .pt, .bin, .safetensors)

    An error names the tensor if anything is left over, missing or of another shape. .th, .pt and
    .bin need torch and are read as plain tensors only; .tflite needs pip install
    "uniwav_jax[lyra]". What a bare state dict does not state can be given:
    --set causal=false --set sample_rate=16000
    """
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--licence", default="as the source's", help="of the weights")
    return _codec


def _codec(args: argparse.Namespace) -> int:
    import jax

    from uniwav_jax.codec import files, importers, lyra_tflite

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
