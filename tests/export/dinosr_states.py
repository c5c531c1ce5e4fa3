"""Encoders of DinoSR and SpidR as state dicts of arrays, and fairseq's names of them."""

from typing import Any

import numpy as np

CHANNELS, WIDTH, FFN = 8, 16, 24
KERNELS = (10, 3, 3, 3, 3, 2, 2)


def random_state() -> dict[str, np.ndarray]:
    """A small model under the names of the `spidr` package."""
    random = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def add(name: str, *weight: int, bias: int = 0) -> None:
        state[f"{name}.weight"] = random.standard_normal(weight, np.float32)
        if bias:
            state[f"{name}.bias"] = random.standard_normal(bias, np.float32)

    for i, kernel in enumerate(KERNELS):
        at = f"feature_extractor.conv_layers.{i}"
        add(f"{at}.conv", CHANNELS, CHANNELS if i else 1, kernel)
        add(f"{at}.layer_norm", CHANNELS, bias=CHANNELS)
    add("feature_projection.layer_norm", CHANNELS, bias=CHANNELS)
    add("feature_projection.projection", WIDTH, CHANNELS, bias=WIDTH)
    state["mask_embedding"] = random.standard_normal(WIDTH, np.float32)
    for network in ("student", "teacher"):
        for i in range(2):
            add(f"{network}.pos_conv_embed.convs.{i}", WIDTH, WIDTH // 4, 5, bias=WIDTH)
        add(f"{network}.layer_norm", WIDTH, bias=WIDTH)
        for i in range(3):
            at = f"{network}.layers.{i}"
            add(f"{at}.layer_norm", WIDTH, bias=WIDTH)
            add(f"{at}.final_layer_norm", WIDTH, bias=WIDTH)
            add(f"{at}.attention.qkv", 3 * WIDTH, WIDTH)
            add(f"{at}.attention.proj", WIDTH, WIDTH, bias=WIDTH)
            add(f"{at}.feed_forward.intermediate_dense", FFN, WIDTH, bias=FFN)
            add(f"{at}.feed_forward.output_dense", WIDTH, FFN, bias=WIDTH)
    add("heads.0", 4, WIDTH)
    state["codebooks.0"] = random.standard_normal((4, WIDTH), np.float32)
    state["current_step"] = np.zeros(1, np.float32)
    return state


def as_fairseq(state: dict[str, Any]) -> dict[str, Any]:
    """The same arrays or tensors under fairseq's names, query, key and value apart."""
    renamed, average = {}, {}
    for name, value in state.items():
        target, short = (average, name.removeprefix("teacher."))
        if not name.startswith("teacher."):
            target, short = renamed, name.replace("student.", "encoder.")
        for ours, theirs in (
            ("mask_embedding", "mask_emb"),
            ("feature_projection.layer_norm", "layer_norm"),
            ("feature_projection.projection", "post_extract_proj"),
            ("pos_conv_embed.convs.", "pos_conv."),
            ("feed_forward.intermediate_dense", "fc1"),
            ("feed_forward.output_dense", "fc2"),
            ("attention.proj", "self_attn.out_proj"),
        ):
            short = short.replace(ours, theirs)
        if "pos_conv." in short:
            head, kind = short.rsplit(".", 1)
            short = f"{head}.0.{kind}"
        if "conv_layers" in short:
            short = short.replace(".conv.weight", ".0.weight").replace(".layer_norm.", ".2.1.")
        elif "layers." in short and ".layer_norm." in short:
            short = short.replace(".layer_norm.", ".self_attn_layer_norm.")
        if "attention.qkv" in short:
            width = len(value) // 3
            for i, part in enumerate("qkv"):
                piece = value[i * width : (i + 1) * width]
                target[short.replace("attention.qkv", f"self_attn.{part}_proj")] = 1 * piece
                bias = short.replace("attention.qkv.weight", f"self_attn.{part}_proj.bias")
                target[bias] = 0 * piece[:, 0]
        elif not short.startswith(("heads", "codebooks", "current_step")):
            target[short] = value
    return {**renamed, "_ema": average}
