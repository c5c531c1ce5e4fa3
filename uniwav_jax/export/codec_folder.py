"""The codec of a training run as a folder that features, tools and `uniwav encode` read."""

from typing import Any

from uniwav_jax import config as config_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.errors import UserError
from uniwav_jax.models import quantizer
from uniwav_jax.types import PyTree


def read(path: str) -> tuple[Structure, PyTree, dict[str, Any]]:
    """Structure, {"network", "codebooks" [Q, V, C]} float32 numpy, and the checkpoint's meta.

    The weights are the running average, which evaluation uses too.

    Args:
        path: workdir, checkpoints folder or step folder of a run of task codec.

    Raises:
        UserError: there is no such checkpoint.
    """
    parts, meta = store.load_numpy(path, ("ema", "task"))
    if "generator" not in parts["ema"]:
        raise UserError(f"{path} is not a run of task codec")
    structure = config_lib.from_dict(meta["config"]).codec.structure
    params = {"network": parts["ema"]["generator"]}
    if structure.codebooks:
        params["codebooks"] = quantizer.codewords(parts["task"]["codebooks"])
    return structure, params, meta


def export(path: str, out: str, *, dtype: str = "float16", licence: str = "not stated") -> int:
    """Write the codec of a run as a codec folder; returns the updates of its training.

    Args:
        path: workdir, checkpoints folder or step folder of a run of task codec.
        out: new folder.
        dtype: of the weights on disk, float16 or float32.
        licence: of the weights, for the folder's description.
    """
    structure, params, meta = read(path)
    info = {"trained_steps": int(meta["step"]), "licence": licence}
    files.save(out, structure, params, info=info, dtype=dtype)
    return int(meta["step"])
