"""Back from PyTorch: an export becomes a checkpoint that `config.init_from` and tools read.

The parts that an export has not (teacher, optimizer) start fresh, as `init_from` reports.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from uniwav_jax import config as config_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.export import codec_chains, dinosr, names
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.models import quantizer, uniwav
from uniwav_jax.tasks import asr
from uniwav_jax.types import PyTree


class Export(NamedTuple):
    """What a folder holds: its configuration, parameters by part (float32 numpy), step, codec."""

    config: Config
    params: PyTree
    step: int
    structure: Structure | None


def load(folder: str) -> Export:
    """Read an export, "features" and "codebooks" among the parameters.

    Raises:
        UserError: the folder is incomplete, damaged, or its tensors are not those of its config.
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
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path / uniwav_files.CONFIG} describes no model: {error!r}") from error
    try:
        tensors = safetensors.numpy.load_file(path / uniwav_files.WEIGHTS)
    except Exception as error:  # safetensors' own errors are of many kinds
        raise UserError(f"{path / uniwav_files.WEIGHTS} cannot be read: {error}") from error
    for name in list(tensors):
        if tensors[name].dtype != np.float32:
            dtype = tensors[name].dtype
            raise UserError(f"{path / uniwav_files.WEIGHTS}: {name} is {dtype}, expected float32")
        if name == "features.filters" or ".bias_hh_l" in name:
            tensors.pop(name)  # follows from the rest
    try:
        shapes = _shapes(config, channels, structure, parts)
        return Export(
            config,
            names.from_torch(tensors, shapes, codec_chains.rules(structure)),
            step,
            structure,
        )
    except UserError as error:
        raise UserError(f"{path / uniwav_files.WEIGHTS}: {error}") from error


def _shapes(
    config: Config, channels: int, structure: Structure | None, parts: frozenset[str]
) -> PyTree:
    """Shapes of all parameters that an export must hold."""
    key = jax.random.key(0)
    if config.task == "asr":
        shapes, _ = jax.eval_shape(lambda: asr.init(key, config, channels))
    else:
        shapes = jax.eval_shape(lambda: uniwav.init(key, config, channels))
        c = config.distillation
        shapes["codebooks"] = jax.eval_shape(
            lambda: quantizer.init(
                key, books=c.top_layers, codewords=c.codewords, width=config.model.encoder.width
            )
        )
    one = jax.ShapeDtypeStruct((channels,), np.float32)
    shapes["features"] = {"mean": one, "std": one}
    if structure:
        shapes["features"]["network"] = files.parameters(structure)["network"]
    return {name: shape for name, shape in shapes.items() if name in parts}


def _config(c: dict[str, Any]) -> tuple[Config, Structure | None]:
    """Our configuration of what config.json says, other fields as by default; and the codec."""
    values = dataclasses.asdict(Config())
    features = {**c["features"]}
    structure = None
    if features["kind"] == "codec":
        structure = files.from_description(features["codec"])
        features["codec"] = "of the export"
    values["features"] = {name: features[name] for name in values["features"]}
    values["model"]["encoder"] = c["encoder"]
    values["model"]["decoder"] = c.get("decoder", values["model"]["decoder"])
    values["task"] = c["task"]
    for name in ("flow", "distillation", "asr"):
        values[name] = c.get(name, values[name])
    # Exports of older versions do not state the longest clips of the training.
    values["data"]["buckets"] = c.get("buckets", values["data"]["buckets"])
    # How it was trained and evaluated is not known, and must only fit the rest.
    values["data"]["min_seconds"] = 0.0
    if "distillation" not in c:
        values["distillation"]["top_layers"] = 1
    values["asr"]["freeze_steps"] = values["evaluate"]["sample_every"] = 0
    return config_lib.from_dict(values), structure


def to_checkpoint(source: str, workdir: str, **options: Any) -> int:
    """Write an export, or an encoder of DinoSR or SpidR, as a checkpoint; returns its step.

    A codec or front end is written to `workdir`/codec.

    Args:
        source: folder of an export, or a file for `dinosr.load`.
        workdir: to make.
        options: of `dinosr.load`.

    Raises:
        UserError: as of `load` or `dinosr.load`, or `workdir` has a checkpoint already.
    """
    workdir = str(pathlib.Path(workdir).absolute())  # Orbax wants it so
    if pathlib.Path(source).is_file():
        config, state, structure = dinosr.load(source, **options)
        step = 0
    else:
        config, params, step, structure = load(source)
        state = {"features": params.pop("features")}
        if "codebooks" in params:  # the teacher was exported
            state["task"] = {"teacher": params["encoder"], "codebooks": params.pop("codebooks")}
        if "decoder" in params:
            state["ema"] = {name: params[name] for name in ("condition", "decoder")}
        state["params"] = params
    if structure:
        target = pathlib.Path(workdir) / "codec"
        if structure.codebooks:
            structure = dataclasses.replace(structure, codebooks=0)
        weights = {"network": state["features"]["network"]}
        files.save(str(target), structure, weights, info={"from": source})
        features = dataclasses.replace(config.features, codec=str(target))
        config = dataclasses.replace(config, features=features)
    store.save_parts(workdir, {"ema": {}, "task": {}, **state}, config, step)
    return step
