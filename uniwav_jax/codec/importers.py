"""Imports SEANet codecs of other projects by the names of their tensors.

Three projects have the same structure with slightly different names:

    facebookresearch/encodec   a state dict with names like encoder.model.0.conv.conv.weight_g
    audiocraft                 {"best_state": state dict with the same names, "xp.cfg": YAML}
    transformers EncodecModel  a folder with config.json and names like
                               encoder.layers.0.conv.weight_g

Weight norm, in PyTorch's old and new format, is folded into plain weights. Widths, ratios and
numbers of layers are read from the tensors' shapes; the other settings (causal, padding) come from
the project's own configuration or from the caller.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any

import numpy as np

from uniwav_jax.codec import layers, seanet
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

State = dict[str, np.ndarray]

# Only the training of codebooks needs the tensors of these names.
TRAINING_ONLY = re.compile(r"quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)")
NAMES = (  # part of a project's name -> part of the common name
    (".model.", ".layers."),
    (".conv.conv.", ".conv."),
    (".convtr.convtr.", ".conv."),
    ("quantizer.vq.", "quantizer."),
    ("._codebook.", ".codebook."),
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
)
TRANSFORMERS = {  # field of EncodecConfig -> field of SEANetConfig
    "sampling_rate": "sample_rate",
    "hidden_size": "dimension",
    "num_filters": "filters",
    "num_residual_layers": "residual_layers",
    "upsampling_ratios": "ratios",
    "kernel_size": "kernel",
    "last_kernel_size": "last_kernel",
    "residual_kernel_size": "residual_kernel",
    "dilation_growth_rate": "dilation_base",
    "compress": "compress",
    "num_lstm_layers": "lstm",
    "use_causal_conv": "causal",
    "pad_mode": "padding",
    "trim_right_ratio": "trim_right",
}
AUDIOCRAFT = {  # field of section "seanet" in the YAML -> field of SEANetConfig
    "dimension": "dimension",
    "n_filters": "filters",
    "n_residual_layers": "residual_layers",
    "ratios": "ratios",
    "kernel_size": "kernel",
    "last_kernel_size": "last_kernel",
    "residual_kernel_size": "residual_kernel",
    "dilation_base": "dilation_base",
    "compress": "compress",
    "lstm": "lstm",
    "causal": "causal",
    "pad_mode": "padding",
    "true_skip": "true_skip",
}


def load(path: str, **overrides: Any) -> tuple[SEANetConfig, PyTree]:
    """Read a codec of another project.

    Args:
        path: a .safetensors, .th, .pt or .bin file, or a folder of transformers' save_pretrained.
        **overrides: fields of SEANetConfig that the file lacks. Without them a bare state dict is
            read as EnCodec's 24 kHz model, which is causal and pads by reflection.

    Returns:
        The configuration, and the parameters as float32 NumPy arrays, {"network": ..., "codebooks"
        [K, V, C]}.

    Raises:
        UserError: the file is unreadable, unsafe, incomplete, or not such a codec; names the key.
    """
    state, settings = read(pathlib.Path(path))
    return convert(state, {**settings, **overrides})


def read(path: pathlib.Path) -> tuple[State, dict[str, Any]]:
    """Read a file or folder.

    Returns:
        Tensors by name, and the fields of SEANetConfig that the project's own configuration sets.

    Raises:
        UserError: a file is missing or unreadable, or the codec is not supported.
    """
    if path.is_dir():
        settings = _json(path / "config.json")
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (path / name).exists():
                return read(path / name)[0], _from_transformers(settings, path / "config.json")
        raise UserError(f"{path} has neither model.safetensors nor pytorch_model.bin")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        import safetensors.numpy

        try:
            return dict(safetensors.numpy.load_file(path)), _encodec_24khz()
        except Exception as error:  # safetensors raises many types
            raise UserError(f"{path} is not a readable safetensors file: {error}") from error
    document = unpickle(path)
    if "best_state" in document:
        state, settings = document["best_state"], document.get("xp.cfg", "")
        if isinstance(state.get("model"), dict):
            state = state["model"]
        return numpy_state(state, path), _from_audiocraft(settings, path)
    if "pretrained" in document:
        raise UserError(
            f"{path} only names another model ({document['pretrained']}); give the file of that one"
        )
    return numpy_state(document, path), _encodec_24khz()


def convert(state: State, settings: dict[str, Any]) -> tuple[SEANetConfig, PyTree]:
    """Convert a state dict to our configuration and parameters; see `load`.

    Args:
        state: tensors by name, in any of the three projects' names.
        settings: fields of SEANetConfig.

    Raises:
        UserError: a tensor is missing, unexpected, or has another shape than the settings require.
    """
    original, left, stages = {}, {}, set()
    for name, value in state.items():
        key = name
        for theirs, ours in NAMES:
            key = key.replace(theirs, ours)
        if key.startswith("quantizer.layers."):
            stages.add(key.split(".")[2])
        if not TRAINING_ONLY.fullmatch(key):
            original[key], left[key] = name, np.asarray(value, np.float32)
    seen = {**_from_shapes(left), "codebooks": len(stages)}
    for field, value in seen.items():
        if settings.get(field, value) != value:
            raise UserError(
                f"the configuration has {field}={settings[field]}, but the tensors' shapes mean"
                f" {value}"
            )
    unknown = set(settings) - {field.name for field in dataclasses.fields(SEANetConfig)}
    if unknown:
        raise UserError(f"{sorted(unknown)[0]} is not a field of a codec's configuration")
    config = SEANetConfig(**{**settings, **seen})
    config.validate()

    def take(key: str, shape: tuple[int, ...]) -> np.ndarray:
        if key not in left:
            raise UserError(f"tensor {key} of shape {shape} is missing from the codec's file")
        if left[key].shape != shape:
            raise UserError(f"tensor {original[key]} is {left[key].shape}, expected {shape}")
        return left.pop(key)

    def weight(prefix: str, shape: tuple[int, ...]) -> np.ndarray:
        if f"{prefix}.weight_g" not in left and f"{prefix}.weight_v" not in left:
            return take(f"{prefix}.weight", shape)
        gain = take(f"{prefix}.weight_g", (shape[0], 1, 1)).astype(np.float64)
        direction = take(f"{prefix}.weight_v", shape).astype(np.float64)
        norm = np.sqrt(np.square(direction).sum((1, 2), keepdims=True))
        return (gain * direction / norm).astype(np.float32)

    def convolution(prefix: str, kernel: int, inputs: int, outputs: int) -> PyTree:
        folded = weight(f"{prefix}.conv", (outputs, inputs, kernel))
        bias = take(f"{prefix}.conv.bias", (outputs,))
        return {"kernel": np.ascontiguousarray(folded.transpose(2, 1, 0)), "bias": bias}

    params: PyTree = {}
    for part, chain, width in (
        ("encoder", seanet.encoder(config), 1),
        ("decoder", seanet.decoder(config), config.dimension),
    ):
        for index, layer in enumerate(chain):
            prefix, name = f"{part}.layers.{index}", f"{part}_{index}"
            if isinstance(layer, layers.Convolution):
                params[name] = convolution(prefix, layer.kernel, width, layer.features)
                width = layer.features
            elif isinstance(layer, layers.Upsampling):
                folded = weight(f"{prefix}.conv", (width, layer.features, layer.kernel))
                bias = take(f"{prefix}.conv.bias", (layer.features,))
                kernel = np.ascontiguousarray(folded.transpose(2, 0, 1))
                params[name] = {"kernel": kernel, "bias": bias}
                width = layer.features
            elif isinstance(layer, seanet.ResidualUnit):
                narrow = width // config.compress
                unit = params[name] = {
                    "block_1": convolution(
                        f"{prefix}.block.1", config.residual_kernel, width, narrow
                    ),
                    "block_3": convolution(f"{prefix}.block.3", 1, narrow, width),
                }
                if not config.true_skip:
                    unit["shortcut"] = convolution(f"{prefix}.shortcut", 1, width, width)
            elif isinstance(layer, layers.Lstm):
                params[name] = {}
                for depth in range(config.lstm):
                    for ours, theirs in (("input", "ih"), ("state", "hh")):
                        key = f"{prefix}.lstm.weight_{theirs}_l{depth}"
                        matrix = take(key, (4 * width, width)).T
                        params[name][f"{ours}_kernel_{depth}"] = np.ascontiguousarray(matrix)
                    biases = [
                        take(f"{prefix}.lstm.bias_{which}_l{depth}", (4 * width,))
                        for which in ("ih", "hh")
                    ]
                    params[name][f"bias_{depth}"] = biases[0] + biases[1]
    result = {"network": params}
    if config.codebooks:
        shape = (config.codewords, config.dimension)
        result["codebooks"] = np.stack(
            [take(f"quantizer.layers.{q}.codebook.embed", shape) for q in range(config.codebooks)]
        )
    if left:
        names = sorted(original[key] for key in left)
        raise UserError(
            f"tensor {names[0]} does not belong to this codec ({len(names)} unexpected tensors);"
            " group norm, stereo and other structures than SEANet's are not supported"
        )
    return config, result


def _from_shapes(state: State) -> dict[str, Any]:
    """Fields of SEANetConfig that the tensors' shapes determine."""

    def shapes(pattern: str) -> dict[int, tuple[int, ...]]:
        found = {}
        for key, value in state.items():
            match = re.fullmatch(pattern, key)
            if match:
                found[int(match[1])] = value.shape
        return dict(sorted(found.items()))

    convolutions = shapes(r"encoder\.layers\.(\d+)\.conv\.weight(?:_v)?")
    units = shapes(r"encoder\.layers\.(\d+)\.block\.1\.conv\.weight(?:_v)?")
    if len(convolutions) < 3 or 0 not in convolutions or not units:
        raise UserError(
            "no SEANet encoder among the tensors (such as encoder.model.0.conv.conv.weight_g and"
            f" encoder.model.1.block.1...); found {sorted(state)[:3]}"
        )
    (filters, audio_channels, kernel), *middle, (dimension, _, last) = convolutions.values()
    if audio_channels != 1:
        raise UserError(
            f"the encoder's first convolution reads {audio_channels} audio channels; only mono"
            " codecs are supported"
        )
    index, unit = next(iter(units.items()))
    books = shapes(r"quantizer\.layers\.(\d+)\.codebook\.embed")
    return {
        "dimension": dimension,
        "filters": filters,
        "kernel": kernel,
        "last_kernel": last,
        "ratios": tuple(shape[-1] // 2 for shape in reversed(middle)),
        "residual_layers": list(convolutions)[1] - 2,
        "residual_kernel": unit[-1],
        "compress": unit[1] // unit[0],
        "true_skip": not any(f"layers.{index}.shortcut." in key for key in state),
        "lstm": len(shapes(r"encoder\.layers\.\d+\.lstm\.weight_ih_l(\d+)")),
        **({"codewords": next(iter(books.values()))[0]} if books else {}),
    }


def _from_transformers(settings: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    if settings.get("model_type") != "encodec":
        raise UserError(f"{path} is of model_type {settings.get('model_type')!r}, not encodec")
    if settings.get("norm_type", "weight_norm") != "weight_norm":
        raise UserError(f"{path}: norm_type {settings['norm_type']!r} is not supported")
    if settings.get("normalize"):
        raise UserError(f"{path}: codecs that normalise loudness are not supported")
    found = {ours: settings[theirs] for theirs, ours in TRANSFORMERS.items() if theirs in settings}
    if "use_conv_shortcut" in settings:
        found["true_skip"] = not settings["use_conv_shortcut"]
    return _tuples(found)


def _from_audiocraft(settings: Any, path: pathlib.Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(settings)
        section, encodec = document["seanet"], document["encodec"]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its 'xp.cfg' is not YAML with the sections seanet and encodec; export the"
            " checkpoint with audiocraft.utils.export"
        ) from error
    for part in ("encoder", "decoder"):
        extra = {
            k: v for k, v in (section.get(part) or {}).items() if k != "trim_right_ratio" and v
        }
        if extra:
            raise UserError(f"{path}: seanet.{part} has settings of its own: {extra}")
    if section.get("norm", "weight_norm") not in ("weight_norm", "none"):
        raise UserError(f"{path}: seanet.norm {section['norm']!r} is not supported")
    if encodec.get("renormalize"):
        raise UserError(f"{path}: codecs that normalise loudness are not supported")
    # Values such as ${encodec.causal} refer to other fields.
    variables = {"${encodec.causal}": encodec.get("causal", False)}
    found = {
        ours: variables.get(section[theirs], section[theirs])
        if isinstance(section[theirs], str)
        else section[theirs]
        for theirs, ours in AUDIOCRAFT.items()
        if theirs in section
    }
    found["trim_right"] = (section.get("decoder") or {}).get("trim_right_ratio", 1.0)
    rate = encodec.get("sample_rate")
    found["sample_rate"] = rate if isinstance(rate, int) else document["sample_rate"]
    return _tuples(found)


def _encodec_24khz() -> dict[str, Any]:
    """Settings of facebookresearch/encodec's 24 kHz model, which its state dict lacks."""
    return {"sample_rate": 24000, "causal": True, "padding": "reflect"}


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def unpickle(path: pathlib.Path) -> dict[str, Any]:
    """Read a PyTorch file of tensors and plain containers, without running code from the file.

    Raises:
        UserError: PyTorch is not installed, or the file has objects of other types.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is in PyTorch's format: pip install torch (a CPU build is enough), or convert"
            " it to safetensors"
        ) from None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise different types
        raise UserError(
            f"{path} cannot be read as plain tensors: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} is a {type(document).__name__}, not a state dict")
    return document


def numpy_state(state: dict[str, Any], path: pathlib.Path) -> State:
    """Convert tensors to float32 NumPy arrays.

    Raises:
        UserError: a value is not a tensor; names it.
    """
    for name, value in state.items():
        if not hasattr(value, "numpy"):
            raise UserError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
    return {name: value.float().numpy() for name, value in state.items()}
