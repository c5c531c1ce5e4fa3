"""Reading one step of a run, without its optimizer or mesh: what inference and export use."""

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
    """The step folder meant by `path`: a workdir, its checkpoints folder or a step folder."""
    folder = epath.Path(path if "://" in path else os.path.abspath(path))  # Orbax wants absolute
    if not folder.is_dir():
        raise UserError(f"checkpoint folder {path} does not exist")
    if (folder / "state").is_dir():
        return folder
    if (folder / "checkpoints").is_dir():
        folder = folder / "checkpoints"
    steps = [int(child.name) for child in folder.iterdir() if child.name.isdigit()]
    if not steps:
        raise UserError(f"{path} holds no checkpoint; give a workdir or one of its step folders")
    return folder / str(max(steps))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One step of a run, opened by `open`: whatever is read through it comes from this step.

    Attributes:
        folder: the step's folder.
        meta: what is saved beside the arrays: "step", "config", "versions", "data", "codec".
        config: the configuration.
    """

    folder: epath.Path
    meta: dict[str, Any]
    config: Config

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.meta["step"])

    @property
    def task(self) -> Task:
        """What was trained."""
        return tasks.get(self.config.task)

    def features(self) -> SurfaceFeatures:
        """The surface features; a codec's folder need not exist any more."""
        return features_lib.build(self.config.features, self.meta.get("codec"))

    def arrays(self, *places: str) -> dict[str, PyTree]:
        """Some parts of the `TrainState` as numpy arrays; any topology can have written them.

        Args:
            places: fields of `TrainState` or parts of them, for example "params/encoder"; what the
                checkpoint lacks is left out.

        Returns:
            A tree of dicts in which the arrays have their places.

        Raises:
            UserError: the files are damaged, or the program computes one of the parts in another
                way than when it was trained.
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
    """The newest step of a run, or the step that `path` names.

    The step is chosen once: a run that goes on saving changes nothing in what is read.

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
    # Rules that a younger version made for new runs do not forbid reading.
    return Checkpoint(folder, meta, config_lib.build(meta["config"]))


def newest(workdir: str | epath.Path) -> Checkpoint | None:
    """The newest checkpoint of a workdir, or None where there is none yet."""
    folder = epath.Path(workdir) / "checkpoints"
    if not folder.is_dir() or not any(child.name.isdigit() for child in folder.iterdir()):
        return None
    return open(folder)
