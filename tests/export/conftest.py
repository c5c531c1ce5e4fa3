"""Checkpoints of models with random parameters, none of which are zero, and exports of them."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from tests.codec.random_codec import random_codec
from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import LyraConfig, MdctConfig, SEANetConfig
from uniwav_jax.export import write
from uniwav_jax.models import speech_tokens

CODECS = {
    "small": SEANetConfig(filters=4, dimension=16, lstm=0),
    "seanet": SEANetConfig(filters=4, dimension=16, lstm=2, residual_layers=2),
    "causal": SEANetConfig(filters=4, dimension=16, lstm=1, causal=True, true_skip=True),
    "lyra": LyraConfig(codebooks=0),
    "mdct": MdctConfig(width=16, inner=24),
}
# Settings of a model that is smaller than "tiny".
SMALL = {
    "model__encoder__layers": 2,
    "model__encoder__width": 32,
    "model__encoder__heads": 2,
    "model__encoder__ffn": 64,
    "model__encoder__position_convolutions": 1,
    "distillation__top_layers": 2,
}

# A model of speech synthesis that is as small.
SPEECH = {
    **SMALL,
    "task": "tts",
    "tts__phones": ("AH", "D", "G", "IY", "UH", "sil"),
    "tts__duration_layers": 1,
    "tts__duration_width": 16,
    "flow__sample_steps": 2,
}


def make(folder: pathlib.Path, preset: str = "tiny", codec: str = "", **settings: Any) -> str:
    """Write a checkpoint to `folder`/run; `settings` are configuration fields, "a__b" for a.b."""
    values = config_lib.default_config(preset)
    values.model.compute_dtype = "float32"
    values.asr.freeze_steps = values.evaluate.sample_every = 0
    if codec:
        structure = CODECS[codec]
        files.save(str(folder / "codec"), structure, random_codec(structure), info={})
        values.features.kind, values.features.codec = "codec", str(folder / "codec")
    for name, value in settings.items():
        *path, last = name.split("__")
        node = values
        for part in path:
            node = node[part]
        node[last] = value
    config = config_lib.from_dict(values)
    if config.task == "asr":
        symbols = tuple("|abcdefghijklmnopqrstuvwxyz'")
        text = dataclasses.replace(config.text, symbols=symbols)
        config = dataclasses.replace(config, text=text)
    described = features_lib.build(config.features).described
    store.save_parts(str(folder / "run"), state(config), config, step=7, codec=described)
    return str(folder / "run")


def state(config: config_lib.Config) -> dict[str, Any]:
    """Random parameters, and feature statistics similar to those of real speech."""
    features = features_lib.build(config.features)
    random = np.random.default_rng(0)

    def random_leaf(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = random.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "scale":
            return 1.0 + 0.1 * noise
        if [key.key for key in path[-2:]] == ["out", "kernel"]:
            return 0.5 * noise  # makes velocities about as large as the noise x0
        return 0.05 * noise

    def random_tree(shapes: Any) -> Any:
        return jax.tree_util.tree_map_with_path(random_leaf, shapes)

    task = tasks.get(config.task)
    key = jax.random.key(0)
    shapes, state_shapes = jax.eval_shape(lambda: task.init(key, config, features.channels))
    found = {"params": random_tree(shapes), "ema": {}, "state": {}}
    if config.task == "pretrain":
        books = random_tree(state_shapes["codebooks"])
        books["counts"] = 0.5 + np.abs(books["counts"])
        found["state"] = {"teacher": random_tree(shapes["encoder"]), "codebooks": books}
    if config.task in ("pretrain", "tts"):
        found["ema"] = {name: random_tree(shapes[name]) for name in task.averages(config)}
    if config.task == "tokenizer":
        books = random_tree(state_shapes["books"])
        for book in books.values():
            book["counts"] = 0.5 + np.abs(book["counts"])
        if config.tokenizer.levels:
            books["first"] = jax.tree.map(np.array, speech_tokens.init_books(key, config)["first"])
            # Otherwise the random map would give the same code to almost all frames.
            found["params"]["tokens"]["down"]["kernel"] *= 10
        found["state"] = {"books": books, "updates": np.zeros((), np.float32)}
        found["ema"] = {"decoder": random_tree(shapes["decoder"])}
    level = -4.0 if config.features.kind == "log_mel" else 0.0
    found["frozen"] = {
        "features": {
            **jax.tree.map(np.array, features.weights),
            "mean": np.full(features.channels, level, np.float32),
            "std": np.full(features.channels, 2.0, np.float32),
        }
    }
    return found


def make_codec_run(folder: pathlib.Path, **structure: Any) -> tuple[str, config_lib.Config, Any]:
    """A run of task codec in `folder`/run after three updates: path, configuration, weights.

    Only the averaged weights are there, and with codebooks the quantiser's statistics.
    """
    values = config_lib.default_config("tiny")
    values.task, values.features.kind = "codec", "waveform"
    values.codec.bottleneck = "rvq" if structure.get("codebooks") else "noise"
    values.codec.structure.update(filters=4, dimension=8, lstm=0, **structure)
    config = config_lib.from_dict(values)
    params = random_codec(config.codec.structure)
    state = {"params": {}, "ema": {"generator": params["network"]}, "state": {}}
    if "codebooks" in params:
        counts = np.full(params["codebooks"].shape[:2], 4.0, np.float32)
        books = {"sums": 4.0 * params["codebooks"], "counts": counts}
        state["state"] = {"codebooks": books}
    store.save_parts(str(folder / "run"), state, config, step=3)
    return str(folder / "run"), config, params


@pytest.fixture(scope="session")
def exported(made_once):
    """A function task -> folder with the tiny model in run/ and its export in export/."""

    def get(task: str) -> pathlib.Path:
        def both(folder: pathlib.Path) -> None:
            write.export(make(folder, task=task), str(folder / "export"))

        return made_once(f"exported_{task}", both)

    return get


@pytest.fixture(scope="session")
def speech(clip) -> tuple[np.ndarray, np.ndarray]:
    """Three real clips, 3, 2 and 1.1 s, padded; float32 [3, S] and samples [3]."""
    samples = np.array([48000, 32000, 17700])
    audio = np.zeros((3, 48000), np.float32)
    for row, count in enumerate(samples):
        audio[row, :count] = clip[1000 * row : 1000 * row + count]
    return audio, samples
