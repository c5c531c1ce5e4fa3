"""Converts an export to a checkpoint that `config.init_from` and the tools read.

Parts that an export lacks, such as teacher and optimizer, start afresh, as `init_from` reports.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.export import codec_chains, dinosr, names
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.tasks.task import Task
from uniwav_jax.types import PyTree


class Export(NamedTuple):
    """The content of an exported folder."""

    config: Config
    params: PyTree  # float32 NumPy arrays by part
    step: int  # number of training updates
    structure: Structure | None  # of the codec; None without one
    encoder: str  # "student" or "teacher"


def load(folder: str) -> Export:
    """Read an exported folder.

    Raises:
        UserError: the folder is incomplete or damaged, or its tensors do not fit its config.json.
    """
    path = pathlib.Path(folder)
    try:
        uniwav_files.verify(path)
        c = uniwav_files.read_config(path)
    except uniwav_files.ExportError as error:
        raise UserError(str(error)) from error
    try:
        config, structure = _config(c)
        parts = frozenset(c["parts"])
        channels, step = int(c["features"]["channels"]), int(c["step"])
        encoder = c["weights"]["encoder"]
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path / uniwav_files.CONFIG} does not describe a model: {error!r}"
        ) from error
    try:
        tensors = safetensors.numpy.load_file(path / uniwav_files.WEIGHTS)
    except Exception as error:  # safetensors raises many types
        raise UserError(f"{path / uniwav_files.WEIGHTS} cannot be read: {error}") from error
    for name in list(tensors):
        if tensors[name].dtype != np.float32:
            dtype = tensors[name].dtype
            raise UserError(f"{path / uniwav_files.WEIGHTS}: {name} is {dtype}, expected float32")
        if name == "features.filters" or ".bias_hh_l" in name:
            tensors.pop(name)  # it follows from the configuration
    try:
        shapes = _shapes(config, channels, structure, parts, encoder)
        return Export(
            config,
            names.from_torch(tensors, shapes, codec_chains.rules(structure)),
            step,
            structure,
            encoder,
        )
    except UserError as error:
        raise UserError(f"{path / uniwav_files.WEIGHTS}: {error}") from error


def _shapes(
    config: Config,
    channels: int,
    structure: Structure | None,
    parts: frozenset[str],
    encoder: str,
) -> PyTree:
    """Shapes of all parameters that an export must have."""
    task = tasks.get(config.task)
    params, state = jax.eval_shape(lambda: task.init(jax.random.key(0), config, channels))
    arrays = {"params": params, "ema": params, "state": state}
    shapes = {name: store.get(arrays, place) for name, place in _places(task, encoder).items()}
    one = jax.ShapeDtypeStruct((channels,), np.float32)
    shapes["features"] = {"mean": one, "std": one}
    if structure:
        shapes["features"]["network"] = files.parameters(structure)["network"]
    return {name: shape for name, shape in shapes.items() if name in parts}


def _places(task: Task, encoder: str) -> dict[str, str]:
    """{part of an export: its place in `TrainState`}."""
    places = task.exports(encoder, "average") if task.exports else {}
    if not places:
        raise UserError(f"task {task.name} has no export with the encoder {encoder!r}")
    return places


def _config(c: dict[str, Any]) -> tuple[Config, Structure | None]:
    """Convert config.json to a configuration and the codec's structure.

    config.json lacks the fields of training and evaluation; they get values that are valid together
    with the others.
    """
    values = dataclasses.asdict(Config())
    features = {**c["features"]}
    structure = None
    if features["kind"] == "codec":
        structure = files.from_description(features["codec"])
        features["codec"] = "of the export"
    values["features"] = {name: features[name] for name in values["features"]}
    values["model"]["encoder"] = c["encoder"]
    values["model"]["decoder"] = c.get("decoder", values["model"]["decoder"])
    values |= {"task": c["task"], "init_from": "the export"}
    values |= {name: c[name] for name in values.keys() & c.keys() - {"features"}}
    # Exports of older versions lack the lengths of the clips that the model was trained on.
    values["data"]["buckets"] = c.get("buckets", values["data"]["buckets"])
    values["data"]["min_seconds"] = 0.0
    if "distillation" not in c:
        values["distillation"]["top_layers"] = 1
    values["evaluate"]["sample_every"] = 0
    config = config_lib.from_dict(values)
    return dataclasses.replace(config, init_from=""), structure


def to_checkpoint(source: str, workdir: str, **options: Any) -> int:
    """Write an export, or an encoder of DinoSR or SpidR, as a checkpoint; returns its step.

    A codec or front end is written to `workdir`/codec.

    Args:
        source: folder of an export, or a file for `dinosr.load`.
        workdir: new working directory.
        options: options of `dinosr.load`.

    Raises:
        UserError: as in `load` or `dinosr.load`, or `workdir` already has a checkpoint.
    """
    workdir = str(pathlib.Path(workdir).absolute())  # Orbax needs absolute paths
    if pathlib.Path(source).is_file():
        config, state, structure = dinosr.load(source, **options)
        step = 0
    else:
        export = load(source)
        config, step, structure = export.config, export.step, export.structure
        task = tasks.get(config.task)
        places = {**_places(task, export.encoder), "features": "frozen/features"}
        flat = {places[name]: part for name, part in export.params.items()}
        # Training starts from the exported teacher or average, so it is also the trained part.
        for follower, leader in task.follows(config).items():
            if follower in flat:
                flat.setdefault(leader, flat[follower])
        state = store.nested(flat)
    if structure:
        target = pathlib.Path(workdir) / "codec"
        if structure.codebooks:
            structure = dataclasses.replace(structure, codebooks=0)
        weights = {"network": state["frozen"]["features"]["network"]}
        files.save(str(target), structure, weights, info={"from": source})
        features = dataclasses.replace(config.features, codec=str(target))
        config = dataclasses.replace(config, features=features)
    described = features_lib.build(config.features).described
    store.save_parts(workdir, {"ema": {}, "state": {}, **state}, config, step, described)
    return step
