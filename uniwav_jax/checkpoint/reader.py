"""Reads one step of a run without its optimizer or mesh, for inference, export and init_from."""

import dataclasses
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import compatibility, store
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.tasks.task import Task
from uniwav_jax.types import PyTree


def find(path: str) -> epath.Path:
    """The step folder that a path stands for.

    Args:
        path: a step folder, or a workdir or its checkpoints folder, which stand for the newest.

    Raises:
        UserError: there is no such folder or no checkpoint in it.
    """
    folder = epath.Path(path if "://" in path else os.path.abspath(path))  # Orbax wants absolute
    if not folder.is_dir():
        raise UserError(f"checkpoint folder {path} does not exist")
    if (folder / "state").is_dir():
        return folder
    if (folder / "checkpoints").is_dir():
        folder = folder / "checkpoints"
    steps = [int(child.name) for child in folder.iterdir() if child.name.isdigit()]
    if not steps:
        raise UserError(f"{path} has no checkpoint; give a workdir or one of its step folders")
    return folder / str(max(steps))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One step of a run, returned by `open`. Everything that it reads comes from this step.

    Attributes:
        folder: the step's folder.
        meta: the metadata saved with the arrays: "step", "config", "versions", "data", "codec",
            "checksums".
        config: the run's configuration.
    """

    folder: epath.Path
    meta: dict[str, Any]
    config: Config

    @property
    def step(self) -> int:
        """Number of updates."""
        return int(self.meta["step"])

    @property
    def task(self) -> Task:
        """The run's task."""
        return tasks.get(self.config.task)

    def features(self) -> SurfaceFeatures:
        """The surface features; a codec comes from the checkpoint, not from its folder."""
        return features_lib.build(self.config.features, self.meta.get("codec"))

    def arrays(self, *places: str) -> dict[str, PyTree]:
        """Read some parts of the `TrainState` as numpy arrays, whatever topology wrote them.

        Args:
            places: paths in `TrainState`, for example "params/encoder"; those that the checkpoint
                does not have are left out.

        Returns:
            A tree of dicts in which the arrays have the same paths.

        Raises:
            UserError: the files are damaged, or this version computes one of the parts differently
                from the version that trained it.
        """
        for part, how in compatibility.outdated(self.meta).items():
            if set(places) & set(self.task.parts[part].arrays):
                raise UserError(
                    f"checkpoint {self.folder} was written by an older version, and the {part} has"
                    f" changed since ({how}); use that version"
                )
        try:
            checkpointer = ocp.PyTreeCheckpointer()
            tree = checkpointer.metadata(self.folder / "state").item_metadata.tree
            then = compatibility.places_then(places, self.meta)
            wanted = store.nested({old: store.get(tree, old) for old in then.values()})
            item = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), wanted)
            restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            args = ocp.args.PyTreeRestore(
                item=item, restore_args=restore_args, partial_restore=True
            )
            arrays = checkpointer.restore(self.folder / "state", args=args)
            arrays = store.nested({place: store.get(arrays, old) for place, old in then.items()})
            store.compare(store.named(store.bit_sums(arrays)), self.meta)
        except Exception as error:
            raise UserError(
                f"checkpoint {self.folder} cannot be read ({store.reason(error)})"
            ) from error
        return arrays


def open(path: str | epath.Path) -> Checkpoint:
    """Open the newest step of a run, or the step that `path` names.

    The step is chosen once, so that a run which saves new steps does not change what is read.

    Args:
        path: workdir, checkpoints folder or step folder.

    Raises:
        UserError: there is no checkpoint, or it cannot be read.
    """
    store.quiet()
    folder = find(str(path))
    try:
        meta = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(folder / "meta")
    except Exception as error:
        raise UserError(f"checkpoint {folder} cannot be read ({store.reason(error)})") from error
    meta = compatibility.current(meta, folder)
    # `config.rules` is not applied: newer rules for new runs must not prevent reading old ones.
    return Checkpoint(folder, meta, config_lib.build(meta["config"]))


def newest(workdir: str | epath.Path) -> Checkpoint | None:
    """Open the newest checkpoint of a workdir; None if there is none yet."""
    folder = epath.Path(workdir) / "checkpoints"
    if not folder.is_dir() or not any(child.name.isdigit() for child in folder.iterdir()):
        return None
    return open(folder)
