"""A model's weights in one small file, as models ship with the package.

    FOLDER/weights.safetensors   float16; counts of codebooks and feature statistics float32
    FOLDER/model.json            task, configuration, updates, and the codec's name and digest

There is no optimizer, no teacher and no codec: the latents are those of an installed codec, or of
the codec folder that the configuration names. The configuration has no paths of data.

A model that was tuned from another one may name that one's folder, beside its own, as its base. Of
an array NAME of the base it stores nothing if the array is the same, and otherwise the difference:

    NAME/difference   int8
    NAME/step         float32, of a vector one, otherwise one along the longest axis but the last

The array is base + step * difference, which is off by half a step at most.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import compatibility, reader
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
SCHEMA = 1
INSTALLED = pathlib.Path(__file__).parents[1] / "installed"  # folders of the package's own weights
EXACT = ("features", "counts")  # the first or last word of names of arrays that stay in float32
DROPPED = ("mfcc_head", "tokens_ctc")  # parts of the parameters that only training reads
STATE = ("books",)  # parts that a training keeps in `TrainState.state`


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


def shipped() -> dict[str, str]:
    """{name of a model that ships with the package: its folder}."""
    return {path.parent.name: str(path.parent) for path in sorted(INSTALLED.glob(f"*/{WEIGHTS}"))}


def save(path: str, out: str, *, base: str = "", without: Sequence[str] = ()) -> int:
    """Write a checkpoint as such a folder; the folder appears whole or not at all.

    Args:
        path: workdir, checkpoints folder or step folder of a run on the latents of a codec whose
            folder still exists, such as the installed one, or on log-mel features.
        out: new folder.
        base: folder of weights in the same folder as `out`, from which the model was tuned; "":
            all arrays are stored.
        without: parts that are left out, such as the decoder of a model that only encodes.

    Returns:
        Bytes of the weights.

    Raises:
        UserError: there is no such checkpoint, its codec is another one, `out` exists, or the base
            lies in another folder.
    """
    checkpoint = reader.open(path)
    config = checkpoint.config
    if "encoder" not in checkpoint.task.parts:
        raise UserError(f"{path} is of task {config.task}, which has no encoder")
    arrays = checkpoint.arrays("params", "ema", "frozen/features", "state/books")
    params = {**arrays["params"], **arrays["ema"], **arrays.get("state", {})}
    features = {name: arrays["frozen"]["features"][name] for name in ("mean", "std")}
    document: dict[str, Any] = {"schema": SCHEMA, "step": checkpoint.step}
    if unknown := set(without) - set(params):
        raise UserError(f"{path} has no part {', '.join(sorted(unknown))} to leave out")
    if without:
        document["without"] = list(without)
    if config.features.kind == "codec":
        document["codec"] = files.digest(config.features.codec)
        _check_codec(path, config, arrays["frozen"]["features"]["network"])
    document["config"] = json.loads(_without_paths(config).to_json())
    kept = {k: v for k, v in params.items() if k not in (*DROPPED, *without)}
    flat = traverse_util.flatten_dict({**kept, "features": features}, sep=".")
    tensors = {
        name: np.asarray(value, np.float32 if {*name.split(".")} & {*EXACT} else np.float16)
        for name, value in flat.items()
    }
    if base:
        if pathlib.Path(base).resolve().parent != pathlib.Path(out).resolve().parent:
            raise UserError(f"{base} and {out} must lie in the same folder")
        document["base"] = pathlib.Path(base).name
        document["base_digest"] = _digest(pathlib.Path(base))
        exact = {name: np.asarray(value, np.float32) for name, value in flat.items()}
        tensors = _minus(tensors, exact, _arrays(pathlib.Path(base)))
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
        base = _base(path, document)
        tensors = _plus(safetensors.numpy.load_file(path / WEIGHTS), base)
    except UserError as error:
        raise UserError(f"{path / DESCRIPTION}: {error}") from error
    except Exception as error:  # safetensors raises many types
        raise UserError(f"{path} is not a folder of weights, or is damaged: {error!r}") from error
    wanted = _shapes(config)
    inherited = {k: v for k, v in base.items() if k in wanted or k.startswith("features.")}
    params = traverse_util.unflatten_dict({**inherited, **tensors}, sep=".")
    features, structure = params.pop("features", {}), None
    if config.features.kind == "codec":
        found = files.digest(config.features.codec)
        if found != document["codec"]:
            raise UserError(
                f"{path} needs codec {document['codec']}, but {config.features.codec} is {found}"
            )
        structure, codec = files.load(config.features.codec)
        features["network"] = codec["network"]
    _check_shapes(path, wanted, params, (*DROPPED, *document.get("without", ())))
    return Weights(config, params, features, step, structure)


def is_folder(path: str) -> bool:
    """Whether a path is a folder of weights."""
    return (pathlib.Path(path) / DESCRIPTION).is_file()


def as_checkpoint(folder: str) -> tuple[PyTree, dict[str, Any]]:
    """Weights as `reader.Checkpoint.arrays` and `meta` give a checkpoint; errors as in `load`.

    Returns:
        {"params", "state", "frozen"}, float32, without averages, and {"schema", "step", "config"}.
    """
    w = load(folder)
    params = {name: value for name, value in w.params.items() if name not in STATE}
    state = {name: value for name, value in w.params.items() if name in STATE}
    config = json.loads(w.config.to_json())
    meta = {"schema": compatibility.SCHEMA, "step": w.step, "config": config}
    return {"params": params, "state": state, "frozen": {"features": w.features}}, meta


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


def _shapes(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """{name: shape} of the parameters of a fresh model, with "books" where there are any."""
    channels = features_lib.build(config.features).channels
    init = tasks.get(config.task).init
    fresh, state = jax.eval_shape(lambda: init(jax.random.key(0), config, channels))
    kept = {name: value for name, value in state.items() if name in STATE}
    return traverse_util.flatten_dict({**fresh, **kept}, sep=".")


def _check_shapes(
    path: pathlib.Path,
    wanted: dict[str, jax.ShapeDtypeStruct],
    params: PyTree,
    absent: Sequence[str],
) -> None:
    """Raise if an array is missing, or has another shape than a fresh model's."""
    found = traverse_util.flatten_dict(params, sep=".")
    for name, value in found.items():
        if name not in wanted:
            raise UserError(f"{path / WEIGHTS} has {name}, which the model does not have")
        if value.shape != wanted[name].shape:
            raise UserError(
                f"{path / WEIGHTS}: {name} is {value.shape}, expected {wanted[name].shape}"
            )
    if missing := sorted({n for n in wanted if n.split(".")[0] not in absent} - found.keys()):
        raise UserError(f"{path / WEIGHTS} lacks {missing[0]} ({len(missing)} arrays in all)")


# Differences from a base.


def _digest(folder: pathlib.Path) -> str:
    return hashlib.blake2b((folder / WEIGHTS).read_bytes(), digest_size=8).hexdigest()


def _base(path: pathlib.Path, document: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of the base that the document names; {} without one."""
    if "base" not in document:
        return {}
    folder = path.parent / document["base"]
    if not (folder / WEIGHTS).is_file() or _digest(folder) != document["base_digest"]:
        raise UserError(f"needs the weights {folder} of digest {document['base_digest']}")
    return _arrays(folder)


def _arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of a folder of weights, float32."""
    document = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    base = _base(folder, document)
    return {**base, **_plus(safetensors.numpy.load_file(folder / WEIGHTS), base)}


def _minus(
    tensors: dict[str, np.ndarray], exact: dict[str, np.ndarray], base: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What is stored of arrays with a base.

    Args:
        tensors: the arrays as they are stored without a base.
        exact: the same in float32.
        base: arrays of the base, float32.
    """
    found = {}
    for name, tensor in tensors.items():
        if name not in base or base[name].shape != tensor.shape:
            found[name] = tensor
        elif not np.array_equal(tensor.astype(np.float32), base[name]):
            difference = exact[name] - base[name]
            # The longest axis but the last (the columns) of a matrix; the only axis of a vector.
            axis = int(np.argmax(difference.shape[:-1])) if difference.ndim > 1 else 0
            step = np.abs(difference).max(axis=axis, keepdims=True) / 127
            found[f"{name}/step"] = np.maximum(step, np.finfo(np.float32).tiny)
            steps = np.round(difference / found[f"{name}/step"])
            found[f"{name}/difference"] = np.clip(steps, -127, 127).astype(np.int8)
    return found


def _plus(tensors: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `_minus`, float32, of the arrays that are stored."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("/difference"):
            name = name.removesuffix("/difference")
            found[name] = base[name] + tensors[f"{name}/step"] * tensor.astype(np.float32)
        elif not name.endswith("/step"):
            found[name] = np.asarray(tensor, np.float32)
    return found
