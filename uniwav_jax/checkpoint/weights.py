"""A model's weights in one small file, as models ship with the package.

    FOLDER/weights.safetensors   float16; codebooks and feature statistics float32
    FOLDER/model.json            task, configuration, updates, and the codec's name and digest

There is no optimizer, no teacher and no codec: the latents are those of an installed codec, or of
the codec folder that the configuration names. The configuration has no paths of data.
"""

import dataclasses
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import reader
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
SCHEMA = 1
EXACT = ("books", "features")  # parts that stay in float32
DROPPED = ("mfcc_head",)  # parts of the parameters that only training reads


class Weights(NamedTuple):
    """The content of a folder.

    Attributes:
        config: of the training, without paths.
        params: parameters by part, float32; with "books" of speech tokens.
        features: parameters of the surface features, with the codec's.
        step: number of updates.
        structure: of the codec; None for log-mel features.
    """

    config: Config
    params: PyTree
    features: PyTree
    step: int
    structure: Structure | None


def save(path: str, out: str) -> int:
    """Write a checkpoint as such a folder; the folder appears whole or not at all.

    Args:
        path: workdir, checkpoints folder or step folder of a run on the latents of a codec whose
            folder still exists, such as the installed one, or on log-mel features.
        out: new folder.

    Returns:
        Bytes of the weights.

    Raises:
        UserError: there is no such checkpoint, its codec is another one, or `out` exists.
    """
    checkpoint = reader.open(path)
    config = checkpoint.config
    if "encoder" not in checkpoint.task.parts:
        raise UserError(f"{path} is of task {config.task}, which has no encoder")
    arrays = checkpoint.arrays("params", "ema", "frozen/features", "state/books")
    params = {**arrays["params"], **arrays["ema"], **arrays.get("state", {})}
    features = {name: arrays["frozen"]["features"][name] for name in ("mean", "std")}
    document: dict[str, Any] = {"schema": SCHEMA, "step": checkpoint.step}
    if config.features.kind == "codec":
        document["codec"] = files.digest(config.features.codec)
        _check_codec(path, config, arrays["frozen"]["features"]["network"])
    document["config"] = json.loads(_without_paths(config).to_json())
    kept = {k: v for k, v in params.items() if k not in DROPPED}
    flat = traverse_util.flatten_dict({**kept, "features": features}, sep=".")
    tensors = {
        name: np.asarray(value, np.float32 if name.startswith(EXACT) else np.float16)
        for name, value in flat.items()
    }
    if bad := [name for name, value in tensors.items() if not np.isfinite(value).all()]:
        raise UserError(f"{path}: {bad[0]} does not fit float16")
    with files.new_folder(out) as draft:
        files.save_tensors(tensors, draft / WEIGHTS)
        (draft / DESCRIPTION).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return (draft / WEIGHTS).stat().st_size


def load(folder: str) -> Weights:
    """Read such a folder.

    Raises:
        UserError: a file is missing or damaged, the codec is another one than in training, or an
            array has another shape than the configuration says.
    """
    path = pathlib.Path(folder)
    try:
        document = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise UserError(f"{path / DESCRIPTION}: schema {document['schema']} is not {SCHEMA}")
        config, step = config_lib.from_dict(document["config"]), int(document["step"])
        tensors = safetensors.numpy.load_file(path / WEIGHTS)
    except UserError as error:
        raise UserError(f"{path / DESCRIPTION}: {error}") from error
    except Exception as error:  # safetensors raises many types
        raise UserError(f"{path} is not a folder of weights, or is damaged: {error!r}") from error
    arrays = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    params = traverse_util.unflatten_dict(arrays, sep=".")
    features, structure = params.pop("features", {}), None
    if config.features.kind == "codec":
        found = files.digest(config.features.codec)
        if found != document["codec"]:
            raise UserError(
                f"{path} needs codec {document['codec']}, but {config.features.codec} is {found}"
            )
        structure, codec = files.load(config.features.codec)
        features["network"] = codec["network"]
    _check_shapes(path, config, params)
    return Weights(config, params, features, step, structure)


def _without_paths(config: Config) -> Config:
    """The configuration without names of files of the machine that trained it."""
    data = dataclasses.replace(config.data, manifest="", eval_manifest="")
    changes: dict[str, Any] = {"data": data}
    if config.init_from:
        changes["init_from"] = "pretrained"
    if config.tokenizer.units:
        changes["tokenizer"] = dataclasses.replace(config.tokenizer, units="")
    features = dataclasses.replace(config.features, stats="")
    return dataclasses.replace(config, features=features, **changes)


def _check_codec(path: str, config: Config, trained: PyTree) -> None:
    """Raise unless the codec that the configuration names is that of the training."""
    network = files.load(config.features.codec)[1]["network"]
    same = jax.tree.structure(network) == jax.tree.structure(trained) and all(
        jax.tree.leaves(jax.tree.map(np.array_equal, network, trained))
    )
    if not same:
        raise UserError(
            f"{path} was trained on latents of another codec than {config.features.codec} now is"
        )


def _check_shapes(path: pathlib.Path, config: Config, params: PyTree) -> None:
    """Raise if an array has another shape than a fresh model of the configuration."""
    channels = features_lib.build(config.features).channels
    init = tasks.get(config.task).init
    fresh, state = jax.eval_shape(lambda: init(jax.random.key(0), config, channels))
    wanted = traverse_util.flatten_dict({**fresh, **state}, sep=".")
    for name, value in traverse_util.flatten_dict(params, sep=".").items():
        if name not in wanted:
            raise UserError(f"{path / WEIGHTS} has {name}, which the model does not have")
        if value.shape != wanted[name].shape:
            raise UserError(
                f"{path / WEIGHTS}: {name} is {value.shape}, expected {wanted[name].shape}"
            )
    missing = {name.split(".")[0] for name in wanted} - set(params) - {"updates", *DROPPED}
    missing -= set(state) - {"books"}
    if missing:
        raise UserError(f"{path / WEIGHTS} lacks {', '.join(sorted(missing))}")
