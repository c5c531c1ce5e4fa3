"""Orbax checkpoints: the whole `TrainState` and metadata about the run in JSON.

    workdir/checkpoints/<step>/state   arrays, which any topology can read
    workdir/checkpoints/<step>/meta    {"schema", "step", "config", "versions", "data", "codec",
                                       "checksums"}

A save is atomic: it is written under another name and renamed, so that a kill during a save leaves
the previous checkpoint. Orbax's files have no checksums of the numbers; the metadata has one for
each array, which is compared when the array is read.
"""

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from uniwav_jax.checkpoint import compatibility
from uniwav_jax.checkpoint.preemption import CheckpointManager
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.types import PyTree, TrainState


def manager(workdir: str | epath.Path, config: Config) -> ocp.CheckpointManager:
    """The manager of `workdir/checkpoints`, which saves asynchronously."""
    quiet()
    return CheckpointManager(
        epath.Path(workdir) / "checkpoints",
        item_handlers={"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        options=ocp.CheckpointManagerOptions(
            max_to_keep=config.checkpoint.keep,
            keep_period=config.checkpoint.keep_every or None,
            create=True,
            cleanup_tmp_directories=True,  # left by saves that were killed
        ),
    )


def save(
    checkpoints: ocp.CheckpointManager,
    state: TrainState,
    config: Config,
    data: dict[str, Any],
    codec: dict[str, Any] | None = None,
) -> None:
    """Start saving `state`; do nothing if this step is saved already.

    It returns when `state` may be donated to the next step, before the save is complete.

    Args:
        checkpoints: the manager.
        state: the state to save.
        config: configuration of the run.
        data: properties of the data that determine the batches (`BatchPlan.fingerprint`).
        codec: `CodecFeatures.described`, with which the checkpoint can be used without the codec's
            folder; None for other features.

    Raises:
        UserError: the checkpoint cannot be written.
    """
    step = int(state.step)
    if step in checkpoints.all_steps():
        return
    meta = _meta(config, step, {"position": step, **data}, codec, checksums(state))
    args = ocp.args.Composite(state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(meta))
    with _writing(checkpoints):
        checkpoints.save(step, args=args, force=True)


def _meta(
    config: Config,
    step: int,
    data: dict[str, Any],
    codec: dict[str, Any] | None,
    sums: dict[str, int],
) -> dict[str, Any]:
    return {
        "schema": compatibility.SCHEMA,
        "step": step,
        "config": dataclasses.asdict(config),
        "versions": compatibility.versions(),
        "data": data,
        "codec": codec,
        "checksums": sums,
    }


def save_parts(
    workdir: str, parts: PyTree, config: Config, step: int, codec: dict[str, Any] | None = None
) -> None:
    """Write a checkpoint of arrays from elsewhere, which `config.init_from` and tools can read.

    Args:
        workdir: a folder without checkpoints.
        parts: numpy arrays in dicts under the fields of `TrainState`; a run that starts from the
            checkpoint initialises missing ones.
        config: the configuration that the arrays fit.
        step: number of the checkpoint.
        codec: as for `save`.

    Raises:
        UserError: there are checkpoints, or the checkpoint cannot be written.
    """
    with contextlib.closing(manager(workdir, config)) as checkpoints:
        if checkpoints.all_steps():
            raise UserError(f"{workdir} has checkpoints; give another folder")
        meta = _meta(config, step, {}, codec, named(bit_sums(parts)))
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(parts), meta=ocp.args.JsonSave(meta))
        with _writing(checkpoints):
            checkpoints.save(step, args=args, force=True)
            checkpoints.wait_until_finished()


def check(checkpoints: ocp.CheckpointManager) -> None:
    """Raise a `UserError` if a save in the background failed; do not wait for a save in progress.

    Orbax's `check_for_errors` cannot be used: it removes the error from the thread, which then
    treats the save as complete and deletes the previous checkpoint.
    """
    if not checkpoints.is_saving_in_progress():
        finish(checkpoints)


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Wait until all saves are on disk.

    Raises:
        UserError: a save failed.
    """
    with _writing(checkpoints):
        checkpoints.wait_until_finished()


def close(checkpoints: ocp.CheckpointManager) -> None:
    """Wait until all saves are on disk (`finish`), and close the manager."""
    with _writing(checkpoints):
        checkpoints.close()


@contextlib.contextmanager
def _writing(checkpoints: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many kinds, also for a full disk
        raise UserError(
            f"a checkpoint could not be written to {checkpoints.directory} ({reason(error)});"
            " correct that or choose another --workdir; the same command continues from the last"
            " completed one"
        ) from error


def checksums(state: PyTree) -> dict[str, int]:
    """{path in `TrainState`: `bit_sums` of the array}, which do not depend on the mesh.

    The sums are computed on the devices, so all processes must call this function.
    """
    sums = jax.jit(bit_sums, out_shardings=state.step.sharding)(state)
    return named(jax.device_get(jax.block_until_ready(sums)))


def bit_sums(tree: PyTree) -> PyTree:
    """For each array the sum modulo 2^32 of its bit patterns as unsigned integers, uint32 []."""
    return jax.tree.map(lambda x: x.view(f"uint{8 * x.dtype.itemsize}").sum(dtype="uint32"), tree)


def named(sums: PyTree) -> dict[str, int]:
    """Turn a tree of sums into {path in the tree: sum}."""
    leaves = jax.tree_util.tree_leaves_with_path(sums)
    return {path_string(path): int(value) for path, value in leaves}


def compare(found: dict[str, int], meta: dict[str, Any]) -> None:
    """Raise a `ValueError` unless the checksums are those saved; older checkpoints have none."""
    found = {compatibility.place_then(name, meta): value for name, value in found.items()}
    saved = meta.get("checksums", found)
    changed = [name for name in found if found[name] != saved.get(name)]
    if changed:
        raise ValueError(f"not what was saved: {', '.join(changed)}")


def restore(
    checkpoints: ocp.CheckpointManager, abstract: TrainState, shardings: PyTree, config: Config
) -> tuple[TrainState, dict[str, Any]] | None:
    """Restore the newest checkpoint to this run's mesh.

    Args:
        checkpoints: the manager.
        abstract: the state's shapes and dtypes (`jax.eval_shape`).
        shardings: sharding of each array of the state.
        config: this run's configuration, which is compared with the checkpoint's.

    Returns:
        The state and the checkpoint's metadata, or None if there is no checkpoint.

    Raises:
        UserError: the checkpoint belongs to another configuration, cannot be read, or differs from
            the state that was saved.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    folder = checkpoints.directory / str(step)
    try:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = compatibility.current(checkpoints.restore(step, args=args)["meta"], folder)
        compatibility.check_resume(meta, config, folder)
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            shardings,
        )
        older = meta.get("schema", 0) < compatibility.SCHEMA
        item = _older(target, folder, meta) if older else target
        args = ocp.args.PyTreeRestore(
            item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item)
        )
        state = checkpoints.restore(step, args=ocp.args.Composite(state=args))["state"]
        if older:
            state = _newer(state, target, meta)
        compare(checksums(state), meta)
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
        older = [number for number in checkpoints.all_steps() if number < step]
        effect = f"continue from step {max(older)}" if older else "begin again (there is no other)"
        raise UserError(
            f"checkpoint {folder} cannot be read ({reason(error)}); delete that folder to {effect},"
            " or choose another --workdir"
        ) from error
    return state, meta


def _older(target: TrainState, folder: epath.Path, meta: dict[str, Any]) -> PyTree:
    """The tree of a checkpoint of an older schema, with the leaves of `target` at their old paths.

    Leaves that `target` does not have are not read.
    """
    leaves = jax.tree_util.tree_leaves_with_path(target)
    wanted = {compatibility.place_then(path_string(path), meta): leaf for path, leaf in leaves}
    saved = ocp.PyTreeCheckpointer().metadata(folder / "state").item_metadata.tree
    return jax.tree_util.tree_map_with_path(
        lambda path, _: wanted.get(path_string(path), ocp.PLACEHOLDER), saved
    )


def _newer(tree: PyTree, target: TrainState, meta: dict[str, Any]) -> TrainState:
    """A state like `target` with the arrays of a tree of an older schema."""
    found = {path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: found[compatibility.place_then(path_string(path), meta)], target
    )


def reason(error: Exception) -> str:
    """One line about an error of Orbax or TensorStore, without internal details."""
    line = str(error).strip().split("\n")[0]
    for details in (" [tensorstore_spec", " See full TensorStore"):
        line = line.split(details)[0]
    if len(line) > 300:  # the middle consists of paths, and the cause is at the end
        line = f"{line[:150]} ... {line[-140:]}"
    return f"{type(error).__name__}: {line}"


@functools.cache
def quiet() -> None:
    """Suppress messages about errors that are raised anyway, one for each array being read."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Do not warn of a missing metadata file, which Orbax writes for whole checkpoints only.
    logging.getLogger("absl").addFilter(
        lambda record: (
            "orbax" not in record.pathname
            or not (record.exc_info or "_CHECKPOINT_METADATA" in record.getMessage())
        )
    )


def get(tree: PyTree, path: str) -> PyTree:
    """The value at a path such as "a/b" in a tree of dicts; {} if there is none."""
    for name in path.split("/"):
        tree = tree.get(name, {}) if isinstance(tree, dict) else {}
    return tree


def nested(parts: dict[str, PyTree]) -> PyTree:
    """Nest values by their paths, {"a/b": x} -> {"a": {"b": x}}, without empty dicts."""
    flat = {
        path: value
        for path, value in parts.items()
        if "/" not in path or not isinstance(value, dict) or value
    }
    return traverse_util.unflatten_dict(flat, sep="/")
