"""A codec on disk: a folder with codec.json (structure, origin) and model.safetensors (weights)."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from uniwav_jax.codec.config import STRUCTURES, Structure
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

SCHEMA = 1
DESCRIPTION, WEIGHTS = "codec.json", "model.safetensors"


def save(
    folder: str,
    config: Structure,
    params: PyTree,
    *,
    info: dict[str, Any],
    dtype: str = "float32",
) -> None:
    """Write a codec; the folder appears whole or not at all.

    Args:
        folder: new.
        config: the structure.
        params: {"network": ..., "codebooks" [Q, V, C] where config.codebooks}.
        info: where it comes from, licence, figures; JSON values.
        dtype: of the weights on disk, float32 or float16.

    Raises:
        UserError: the folder exists.
    """
    target = pathlib.Path(folder)
    if target.exists():
        raise UserError(f"{target} exists; give a new folder, or remove it")
    structure = next(name for name, kind in STRUCTURES.items() if isinstance(config, kind))
    document = {"schema": SCHEMA, "structure": structure, "config": dataclasses.asdict(config)}
    tensors = {
        name: np.asarray(value, dtype)
        for name, value in traverse_util.flatten_dict(params, sep=".").items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        text = json.dumps({**document, "info": info}, indent=2) + "\n"
        (draft / DESCRIPTION).write_text(text, encoding="utf-8")
        safetensors.numpy.save_file(tensors, draft / WEIGHTS)
        draft.chmod(0o755)  # mkdtemp and safetensors write for the owner alone
        (draft / WEIGHTS).chmod(0o644)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def load(folder: str) -> tuple[Structure, PyTree]:
    """Read what `save` wrote; weights in float32 numpy.

    Raises:
        UserError: something is missing, damaged or of another shape; names the file and tensor.
    """
    path = pathlib.Path(folder)
    try:
        document = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        schema, structure = document["schema"], document["structure"]
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in document["config"].items()}
    except FileNotFoundError:
        raise UserError(
            f"{path / DESCRIPTION} does not exist; make a codec folder with tools/import_codec.py"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / DESCRIPTION} is damaged: {error!r}") from error
    if schema != SCHEMA or structure not in STRUCTURES:
        raise UserError(
            f"{path / DESCRIPTION}: schema {schema!r}, structure {structure!r}; this version reads"
            f" schema {SCHEMA} and {sorted(STRUCTURES)}"
        )
    try:
        config = STRUCTURES[structure](**values)
    except TypeError as error:
        raise UserError(f"{path / DESCRIPTION}: {error}") from error
    config.validate()
    try:
        tensors = safetensors.numpy.load_file(path / WEIGHTS)
    except Exception as error:  # safetensors' own errors are of many kinds
        raise UserError(f"{path / WEIGHTS} cannot be read: {error}") from error

    expected = traverse_util.flatten_dict(shapes(config), sep=".")
    for name in sorted(set(expected) ^ set(tensors)):
        side = "lacks" if name in expected else "has, and should not,"
        raise UserError(f"{path / WEIGHTS} {side} the tensor {name}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise UserError(f"{path / WEIGHTS}: {name} is {tensors[name].shape}, expected {shape}")
    arrays = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    return config, traverse_util.unflatten_dict(arrays, sep=".")


def digest(folder: str) -> str:
    """Hash of a codec's weights: two folders with the same give the same latents."""
    try:
        content = (pathlib.Path(folder) / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(f"{folder} holds no codec: {error}") from error
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def shapes(config: Structure) -> PyTree:
    """The shape of every parameter."""
    audio = jax.ShapeDtypeStruct((1, config.hop), np.float32)
    network = jax.eval_shape(Codec(config).init, jax.random.key(0), audio)["params"]
    result = {"network": jax.tree.map(lambda leaf: leaf.shape, network)}
    if config.codebooks:
        result["codebooks"] = (config.codebooks, config.codewords, config.dimension)
    return result
