"""Describes a codec's layers for the PyTorch model, and maps the names of their weights."""

from typing import Any

import numpy as np
from flax import linen as nn

from uniwav_jax.codec import front_end, layers, lyra, mdct, network, seanet
from uniwav_jax.codec.config import Structure
from uniwav_jax.export.names import CONVOLUTION, Rule, Shape


def describe(config: Structure, part: str) -> list[dict[str, Any]]:
    """Describe each layer of `part`, "encoder" or "decoder", by JSON values."""
    return [_layer(layer) for layer in network.chain(config, part)]


def _layer(layer: layers.Layer) -> dict[str, Any]:
    if layer is nn.elu:
        return {"kind": "elu"}
    if layer is front_end.gelu:
        return {"kind": "gelu"}
    if isinstance(layer, layers.ChannelNorm):
        return {"kind": "channel_norm"}
    if layer is lyra.leaky_relu:
        return {"kind": "leaky_relu", "slope": layer.keywords["negative_slope"]}
    if isinstance(layer, layers.Lstm):
        return {"kind": "lstm", "layers": layer.layers}
    if isinstance(layer, layers.Upsampling):
        names = ("features", "stride", "kernel", "groups")
        described = {name: getattr(layer, name) for name in names}
        return {"kind": "upsampling", **described, "trimmed": layer.trimmed}
    if isinstance(layer, layers.Convolution):
        names = ("features", "kernel", "stride", "dilation", "groups", "mode")
        described = {name: getattr(layer, name) for name in names}
        return {"kind": "convolution", **described, "padding": layer.padding}
    if layer is mdct.gelu:
        return {"kind": "gelu_tanh"}
    if isinstance(layer, mdct.Analysis | mdct.Synthesis | mdct.Network):
        return _mdct(layer)
    if isinstance(layer, mdct.Block):
        block = mdct.block(layer.config)
        return {"kind": "unit", "block": [_layer(inner) for inner in block], "shortcut": None}
    if isinstance(layer, lyra.SeparableUnit):
        block = lyra.unit(layer.width, layer.dilation)
        return {"kind": "unit", "block": [_layer(inner) for inner in block], "shortcut": None}
    if isinstance(layer, seanet.ResidualUnit):
        block, shortcut = seanet.unit(layer.config, layer.width, layer.dilation)
        return {
            "kind": "unit",
            "block": [_layer(inner) for inner in block],
            "shortcut": shortcut and _layer(shortcut),
        }
    raise TypeError(f"{layer} is not a layer of a codec")


def _mdct(layer: mdct.Analysis | mdct.Synthesis | mdct.Network) -> dict[str, Any]:
    """Describe a layer of an MDCT codec."""
    c = layer.config
    if isinstance(layer, mdct.Network):
        inner = [_layer(each) for each in mdct.network(c, layer.decodes)]
        if layer.decodes:
            return {
                "kind": "corrections",
                "block": inner,
                "features": c.dimension + mdct.corrections(c),
            }
        return {"kind": "skip_latents", "block": inner, "features": c.dimension}
    described = {
        "kind": "mdct_synthesis",
        **{name: getattr(c, name) for name in ("hop", "shape", "free", "companding")},
        "second": c.quadrature,
        "edges": mdct.band_edges(c.hop, c.bands).tolist(),
        "level": mdct.LEVEL,
        "deviation": mdct.SPREAD,
        "loudest": mdct.LOUDEST,
        "largest": mdct.LARGEST,
        "taper": mdct.TAPER,
    }
    if isinstance(layer, mdct.Analysis):
        features = {"features": c.dimension + 3 * c.hop}
        described |= {"kind": "mdct_analysis", "floor": mdct.FLOOR, **features}
    return described


def rules(config: Structure | None) -> list[Rule]:
    """The rules for the parameters features/network/...; [] without a codec."""
    found: list[Rule] = []
    for part in ("encoder", "decoder") if config else ():
        for index, described in enumerate(describe(config, part)):
            ours, theirs = f"features/network/{part}_{index}", f"features/codec/{part}/{index}"
            found += _rules(described, ours, theirs)
    return found


def _rules(described: dict[str, Any], ours: str, theirs: str) -> list[Rule]:
    kind = described["kind"]
    if kind in ("convolution", "upsampling"):
        conversion = CONVOLUTION if kind == "convolution" else _transposed(described["groups"])
        return [
            Rule(f"{ours}/kernel", f"{theirs}/weight", *conversion),
            Rule(f"{ours}/bias", f"{theirs}/bias", np.asarray, np.reshape),
        ]
    if kind == "channel_norm":
        return [
            Rule(f"{ours}/scale", f"{theirs}/weight", np.asarray, np.reshape),
            Rule(f"{ours}/bias", f"{theirs}/bias", np.asarray, np.reshape),
        ]
    if kind in ("unit", "skip_latents", "corrections"):
        found = [
            rule
            for i, inner in enumerate(described["block"])
            for rule in _rules(inner, f"{ours}/block_{i}", f"{theirs}/block/{i}")
        ]
        if described.get("shortcut"):
            found += _rules(described["shortcut"], f"{ours}/shortcut", f"{theirs}/shortcut")
        return found
    if kind == "lstm":
        turned = (np.transpose, lambda weight, shape: weight.T)
        return [
            rule
            for i in range(described["layers"])
            for rule in (
                Rule(f"{ours}/input_kernel_{i}", f"{theirs}/weight_ih_l{i}", *turned),
                Rule(f"{ours}/state_kernel_{i}", f"{theirs}/weight_hh_l{i}", *turned),
                Rule(f"{ours}/bias_{i}", f"{theirs}/bias_ih_l{i}", np.asarray, np.reshape),
            )
        ]
    return []


def _transposed(groups: int) -> tuple[Any, Any]:
    """Functions between our kernels [k, in / groups, out] and PyTorch's [in, out / groups, k]."""

    def there(kernel: np.ndarray) -> np.ndarray:
        taps, inside, outputs = kernel.shape
        split = kernel.reshape(taps, inside, groups, outputs // groups).transpose(2, 1, 3, 0)
        return split.reshape(groups * inside, outputs // groups, taps)

    def back(weight: np.ndarray, shape: Shape) -> np.ndarray:
        inputs, outputs, taps = weight.shape
        split = weight.reshape(groups, inputs // groups, outputs, taps).transpose(3, 1, 0, 2)
        return split.reshape(shape)

    return there, back
