"""A codec on disk: a folder with codec.json (structure, origin) and model.safetensors (weights)."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
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
INSTALLED = pathlib.Path(__file__).parent / "installed"  # folder of the package's own codecs


def save(
    folder: str,
    config: Structure,
    params: PyTree,
    *,
    info: dict[str, Any],
    dtype: str = "float32",
) -> None:
    """Write a codec; after a failure there is no folder.

    Args:
        folder: path of the new folder.
        config: the structure.
        params: {"network": parameters of `network.Codec`} and, if config.codebooks is not 0,
            "codebooks" [K, V, C]; float32.
        info: origin, licence and measurements, as JSON values.
        dtype: of the weights on disk, "float32" or "float16".

    Raises:
        UserError: the folder exists.
    """
    document = {"schema": SCHEMA, **describe(config)}
    tensors = {
        name: np.asarray(value, dtype)
        for name, value in traverse_util.flatten_dict(params, sep=".").items()
    }
    with new_folder(folder) as draft:
        text = json.dumps({**document, "info": info}, indent=2) + "\n"
        (draft / DESCRIPTION).write_text(text, encoding="utf-8")
        save_tensors(tensors, draft / WEIGHTS)


@contextlib.contextmanager
def new_folder(folder: str) -> Iterator[pathlib.Path]:
    """Yield a temporary folder, which is renamed to `folder` at the end or deleted on failure.

    Raises:
        UserError: a file or folder of that name exists.
    """
    target = pathlib.Path(folder)
    if target.exists():
        raise UserError(f"{target} exists; give a new folder, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp and safetensors give permissions to the owner only
        for file in draft.iterdir():
            file.chmod(0o644)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def save_tensors(
    tensors: dict[str, np.ndarray], path: pathlib.Path, notes: dict[str, str] | None = None
) -> None:
    """Write a safetensors file; safetensors 0.8 writes transposed views with wrong values.

    Args:
        tensors: {name: array}.
        path: of the file.
        notes: the file's metadata.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    safetensors.numpy.save_file(whole, path, notes)


def find(folder: str) -> pathlib.Path:
    """The path of a codec folder, or of the installed codec of that name ("codec")."""
    path, installed = pathlib.Path(folder), INSTALLED / folder
    return installed if not path.exists() and installed.is_dir() else path


def describe(config: Structure) -> dict[str, Any]:
    """Describe a structure by JSON values: {"structure": name, "config": fields}."""
    name = next(name for name, kind in STRUCTURES.items() if isinstance(config, kind))
    return {"structure": name, "config": dataclasses.asdict(config)}


def from_description(document: dict[str, Any]) -> Structure:
    """The inverse of `describe`.

    Raises:
        UserError, KeyError, TypeError: the document does not describe a structure.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in document["config"].items()}
    config = STRUCTURES[document["structure"]](**values)
    config.validate()
    return config


def load_config(folder: str) -> Structure:
    """Read the structure of the codec in a folder, or of an installed codec.

    Raises:
        UserError: codec.json is missing, damaged or of another version.
    """
    path = find(folder) / DESCRIPTION
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema, structure = document["schema"], document["structure"]
        if schema == SCHEMA and structure in STRUCTURES:
            return from_description(document)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; the installed one is called codec, and 'uniwav import codec'"
            " and 'uniwav export' create codec folders"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    raise UserError(
        f"{path}: schema {schema!r}, structure {structure!r}; this version reads schema {SCHEMA}"
        f" and {sorted(STRUCTURES)}"
    )


def load(folder: str) -> tuple[Structure, PyTree]:
    """Read a codec that `save` wrote.

    Returns:
        Its structure, and its parameters (see `save`) as float32 NumPy arrays.

    Raises:
        UserError: a file or tensor is missing, damaged or of another shape; names it.
    """
    config, path = load_config(folder), find(folder)
    try:
        tensors = safetensors.numpy.load_file(path / WEIGHTS)
    except Exception as error:  # safetensors raises many types
        raise UserError(f"{path / WEIGHTS} cannot be read: {error}") from error

    expected = traverse_util.flatten_dict(shapes(config), sep=".")
    for name in sorted(set(expected) ^ set(tensors)):
        side = "lacks" if name in expected else "has, but should not have,"
        raise UserError(f"{path / WEIGHTS} {side} the tensor {name}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise UserError(f"{path / WEIGHTS}: {name} is {tensors[name].shape}, expected {shape}")
    arrays = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    return config, traverse_util.unflatten_dict(arrays, sep=".")


def digest(folder: str) -> str:
    """Hash a codec's weights to 16 hexadecimal digits; equal hashes mean equal latents.

    Raises:
        UserError: the folder has no weights.
    """
    try:
        content = (find(folder) / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(f"{folder} is not a codec folder: {error}") from error
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def shapes(config: Structure) -> PyTree:
    """The shape of every parameter, in the tree of `save`."""
    return jax.tree.map(lambda leaf: leaf.shape, parameters(config))


@functools.cache  # tracing takes up to a second
def parameters(config: Structure) -> PyTree:
    """Shape and dtype of every parameter, in the tree of `save`, as `jax.ShapeDtypeStruct`.

    Callers must not change the tree.
    """
    audio = jax.ShapeDtypeStruct((1, config.hop), np.float32)
    network = jax.eval_shape(Codec(config).init, jax.random.key(0), audio)["params"]
    result = {"network": network}
    if config.codebooks:
        books = (config.codebooks, config.codewords, config.dimension)
        result["codebooks"] = jax.ShapeDtypeStruct(books, np.float32)
    return result
