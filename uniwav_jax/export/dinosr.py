"""Imports encoders of DinoSR and SpidR from PyTorch state dicts, as post-norm encoders.

It reads the names of the `spidr` package and of DinoSR in fairseq. The convolutional front end
becomes frozen surface features (codec/front_end.py), because fine-tuning usually freezes it.
"""

import dataclasses
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from uniwav_jax import config as config_lib
from uniwav_jax.codec import importers
from uniwav_jax.codec.config import FrontEndConfig
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

State = dict[str, np.ndarray]
NETWORKS = ("student", "teacher")
# DinoSR and SpidR scale clips to unit variance. LibriSpeech's clips have a standard deviation of
# about 1 / 16, so this gain, which is our choice, is close to it.
GAIN = 16.0
FAIRSEQ = (  # fairseq's names -> spidr's
    (r"^_ema\.layers\.", "teacher.layers."),
    (r"^_ema\.pos_conv\.(\d+)\.0\.", r"teacher.pos_conv_embed.convs.\1."),
    (r"^_ema\.layer_norm\.", "teacher.layer_norm."),
    (r"^mask_emb$", "mask_embedding"),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^encoder\.pos_conv\.(\d+)\.0\.", r"student.pos_conv_embed.convs.\1."),
    (r"^encoder\.", "student."),
    (r"(conv_layers\.\d+)\.0\.weight", r"\1.conv.weight"),
    (r"(conv_layers\.\d+)\.2\.1\.", r"\1.layer_norm."),
    (r"\.self_attn\.out_proj\.", ".attention.proj."),
    (r"\.self_attn\.([qkv]_proj)\.", r".attention.\1."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)
UNUSED = r"(heads|codebooks|student|teacher)\..*|_codebook.*|current_step|.*num_updates"


class Encoder(NamedTuple):
    """An imported encoder.

    Attributes:
        config: a configuration that fine-tunes the encoder.
        arrays: {"params": {"encoder"}, "frozen": {"features"}}, float32 NumPy arrays.
        structure: structure of the front end.
    """

    config: Config
    arrays: PyTree
    structure: FrontEndConfig


def load(
    path: str, *, network: str = "student", heads: int | None = None, gain: float = GAIN
) -> Encoder:
    """Read a checkpoint in safetensors or, if it has only plain tensors, in PyTorch's format.

    Args:
        path: the file.
        network: "student" or "teacher".
        heads: number of attention heads; None: heads of 64 channels.
        gain: factor by which the waveform is multiplied first.

    Raises:
        UserError: the file is unreadable, unsafe, or not such an encoder; names the tensor.
    """
    try:
        return convert(_tensors(pathlib.Path(path)), network=network, heads=heads, gain=gain)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _tensors(path: pathlib.Path) -> State:
    if path.suffix == ".safetensors":
        return importers.read(path)[0]
    document = importers.unpickle(path)
    document = document.get("model", document)
    average = document.get("_ema")
    if isinstance(average, dict):
        rest = {name: value for name, value in document.items() if name != "_ema"}
        document = rest | {f"_ema.{name}": value for name, value in average.items()}
    return importers.numpy_state(document, path)


def convert(state: State, *, network: str, heads: int | None, gain: float) -> Encoder:
    """Convert a state dict; see `load`."""
    left: State = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        for theirs, ours in FAIRSEQ:
            name = re.sub(theirs, ours, name)
        left[name] = np.asarray(value, np.float32)

    def shape_of(name: str) -> tuple[int, ...]:
        if name not in left:
            raise UserError(f"tensor {name} is missing; this is not an encoder of DinoSR or SpidR")
        return left[name].shape

    def take(name: str, *shape: int) -> np.ndarray:
        if shape_of(name) != shape and shape:
            raise UserError(f"tensor {name} is {left[name].shape}, expected {shape}")
        return left.pop(name)

    def linear(name: str) -> PyTree:
        return {"kernel": take(f"{name}.weight").T, "bias": take(f"{name}.bias")}

    def norm(name: str) -> PyTree:
        return {"scale": take(f"{name}.weight", width), "bias": take(f"{name}.bias", width)}

    def attention(name: str) -> PyTree:
        if f"{name}.q_proj.weight" in left:
            for kind in ("weight", "bias"):
                parts = [take(f"{name}.{part}_proj.{kind}") for part in "qkv"]
                left[f"{name}.qkv.{kind}"] = np.concatenate(parts)
        split = (3, heads, width // heads)
        weight = take(f"{name}.qkv.weight", 3 * width, width)
        bias = left.pop(f"{name}.qkv.bias", np.zeros(3 * width, np.float32))
        out = linear(f"{name}.proj")
        return {
            "qkv_kernel": weight.T.reshape(width, *split),
            "qkv_bias": bias.reshape(split),
            "out": {**out, "kernel": out["kernel"].reshape(heads, width // heads, width)},
        }

    front, structure = _front_end(left, take, gain)
    width = shape_of("feature_projection.projection.weight")[0]
    heads = heads or width // 64
    if not heads or width % heads:
        raise UserError(f"{heads} heads do not divide the width {width}; set --heads")
    depth = _count(left, rf"{network}\.layers\.(\d+)\..*")
    positions = _count(left, rf"{network}\.pos_conv_embed\.convs\.(\d+)\..*")
    if not depth or not positions:
        raise UserError(f"there is no {network} with layers and positions among the tensors")
    kernel = shape_of(f"{network}.pos_conv_embed.convs.0.weight")
    channels = structure.dimension
    stacked: list[PyTree] = []
    for i in range(depth):
        at = f"{network}.layers.{i}"
        stacked.append(
            {
                "norm_attention": norm(f"{at}.layer_norm"),
                "norm_feed_forward": norm(f"{at}.final_layer_norm"),
                "attention": attention(f"{at}.attention"),
                "up": linear(f"{at}.feed_forward.intermediate_dense"),
                "down": linear(f"{at}.feed_forward.output_dense"),
            }
        )
    encoder = {
        "mask_vector": take("mask_embedding", width),
        "norm_input": {
            "scale": take("feature_projection.layer_norm.weight", channels),
            "bias": take("feature_projection.layer_norm.bias", channels),
        },
        "project": linear("feature_projection.projection"),
        "positions": {},
        "norm_embedding": norm(f"{network}.layer_norm"),
        "layers": _stack(stacked),
    }
    for i in range(positions):
        at = f"{network}.pos_conv_embed.convs.{i}"
        turned = take(f"{at}.weight", *kernel).transpose(2, 1, 0)
        encoder["positions"] |= {f"kernel_{i}": turned, f"bias_{i}": take(f"{at}.bias", width)}
    other = [name for name in sorted(left) if not re.fullmatch(UNUSED, name)]
    if other:
        raise UserError(
            f"tensor {other[0]} does not belong to an encoder ({len(other)} unexpected tensors)"
        )
    values = config_lib.default_config("base")
    values.task = "asr"
    values.features.update(kind="codec", codec="of the import", hop=structure.hop)
    values.model.encoder.update(
        layers=depth,
        width=width,
        heads=heads,
        ffn=stacked[0]["up"]["bias"].shape[0],
        norm="post",
        position_convolutions=positions,
        position_kernel=kernel[2],
        position_groups=width // kernel[1],
    )
    values.distillation.top_layers = min(values.distillation.top_layers, depth)
    values.evaluate.sample_every, values.init_from = 0, "the import"
    one = np.ones(channels, np.float32)
    arrays = {
        "params": {"encoder": _contiguous(encoder)},
        "frozen": {"features": {"mean": 0 * one, "std": one, "network": _contiguous(front)}},
    }
    config = dataclasses.replace(config_lib.from_dict(values), init_from="")
    return Encoder(config, arrays, structure)


def _front_end(left: State, take: Any, gain: float) -> tuple[PyTree, FrontEndConfig]:
    """Take the parameters of codec/front_end.py from `left`; also returns their structure."""
    depth = _count(left, r"feature_extractor\.conv_layers\.(\d+)\..*")
    if not depth:
        raise UserError("there is no feature_extractor among the tensors")
    params, kernels = {}, []
    for i in range(depth):
        at = f"feature_extractor.conv_layers.{i}"
        weight = take(f"{at}.conv.weight")
        width, kernel = weight.shape[0], weight.shape[2]
        kernels.append(kernel)
        scaled = weight.transpose(2, 1, 0) * (gain if i == 0 else 1.0)
        bias = left.pop(f"{at}.conv.bias", np.zeros(width, np.float32))
        params[f"encoder_{3 * i}"] = {"kernel": scaled.astype(np.float32), "bias": bias}
        scale, shift = take(f"{at}.layer_norm.weight", width), take(f"{at}.layer_norm.bias", width)
        params[f"encoder_{3 * i + 1}"] = {"scale": scale, "bias": shift}
    # Strides do not follow from the tensors; assume wav2vec 2.0's, with 320 samples per frame.
    structure = FrontEndConfig(dimension=width, kernels=tuple(kernels))
    structure.validate()
    return params, structure


def _count(state: State, pattern: str) -> int:
    found = [int(m[1]) for m in (re.fullmatch(pattern, name) for name in state) if m]
    return max(found, default=-1) + 1


def _stack(trees: list[PyTree]) -> PyTree:
    if isinstance(trees[0], dict):
        return {name: _stack([tree[name] for tree in trees]) for name in trees[0]}
    return np.stack(trees)


def _contiguous(tree: PyTree) -> PyTree:
    if isinstance(tree, dict):
        return {name: _contiguous(value) for name, value in tree.items()}
    return np.ascontiguousarray(tree)
