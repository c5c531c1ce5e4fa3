"""Writes the codec of a training run as a folder for features, tools and `uniwav encode`."""

from uniwav_jax.checkpoint import reader
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.errors import UserError
from uniwav_jax.tasks import codec
from uniwav_jax.types import PyTree


def read(checkpoint: reader.Checkpoint) -> tuple[Structure, PyTree]:
    """Read the structure, and the parameters {"network", "codebooks" [Q, V, C]} as float32 NumPy.

    The weights are the running average, which evaluation uses too.

    Raises:
        UserError: the checkpoint is not of task codec.
    """
    if "generator" not in checkpoint.task.parts:
        raise UserError(f"{checkpoint.folder} is not a run of task codec")
    arrays = checkpoint.arrays("ema", "state")
    return codec.trained(checkpoint.config, arrays["ema"], arrays.get("state", {}))


def export(path: str, out: str, *, dtype: str = "float16", licence: str = "not stated") -> int:
    """Write the codec of a run as a codec folder; returns the number of training updates.

    Args:
        path: workdir, checkpoints folder or step folder of a run of task codec.
        out: new folder.
        dtype: dtype of the weights on disk, "float16" or "float32".
        licence: licence of the weights, for the folder's description.

    Raises:
        UserError: the checkpoint is not of task codec, or `out` exists.
    """
    checkpoint = reader.open(path)
    structure, params = read(checkpoint)
    info = {"trained_steps": checkpoint.step, "licence": licence}
    files.save(out, structure, params, info=info, dtype=dtype)
    return checkpoint.step
