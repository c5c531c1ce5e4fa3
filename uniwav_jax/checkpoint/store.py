"""Orbax checkpoints: the whole `TrainState`, and JSON that describes the run.

    workdir/checkpoints/<step>/state   arrays, any topology can read them
    workdir/checkpoints/<step>/meta    {"schema", "step", "config", "versions", "data", ...}

A save is atomic (written aside, renamed): a kill in mid-save leaves the previous checkpoint. The
files have no checksums of the numbers; meta has one for each array, compared when it is read.
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
    """The manager of `workdir/checkpoints`; saves are asynchronous."""
    quiet()
    return CheckpointManager(
        epath.Path(workdir) / "checkpoints",
        item_handlers={"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        options=ocp.CheckpointManagerOptions(
            max_to_keep=config.checkpoint.keep,
            keep_period=config.checkpoint.keep_every or None,
            create=True,
            cleanup_tmp_directories=True,  # of saves that were killed
        ),
    )


def save(
    checkpoints: ocp.CheckpointManager,
    state: TrainState,
    config: Config,
    data: dict[str, Any],
    codec: dict[str, Any] | None = None,
) -> None:
    """Start saving `state` (returns when it is safe to donate it); no-op if the step is there.

    Args:
        checkpoints: the manager.
        state: what is saved.
        config: of the run.
        data: what decides the batches (`BatchPlan.fingerprint`).
        codec: of codec features, `CodecFeatures.described`: with it the checkpoint can be used
            without the codec's folder.
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
    """Write arrays that were not trained here, as `config.init_from` and tools read them.

    Args:
        workdir: must have no checkpoint.
        parts: numpy arrays by the fields of `TrainState`; what is left out starts fresh.
        config: of the arrays.
        step: number of the checkpoint.
        codec: as for `save`.
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
    """Raise a `UserError` if a save in the background has failed; waits for none.

    Orbax's `check_for_errors` is not used: it clears the thread's error, so that the thread takes
    the save for finished and removes the checkpoint before it.
    """
    if not checkpoints.is_saving_in_progress():
        finish(checkpoints)


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Wait until the saves are on disk.

    Raises:
        UserError: one has failed.
    """
    with _writing(checkpoints):
        checkpoints.wait_until_finished()


def close(checkpoints: ocp.CheckpointManager) -> None:
    """`finish`, and no more saves."""
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
    """For each array the sum of its bits, as unsigned integers, modulo 2^32; the same on any mesh.

    Computed on the devices; all processes must call it.
    """
    sums = jax.jit(bit_sums, out_shardings=state.step.sharding)(state)
    return named(jax.device_get(jax.block_until_ready(sums)))


def bit_sums(tree: PyTree) -> PyTree:
    """For each array the sum of its bits, as unsigned integers, modulo 2^32."""
    return jax.tree.map(lambda x: x.view(f"uint{8 * x.dtype.itemsize}").sum(dtype="uint32"), tree)


def named(sums: PyTree) -> dict[str, int]:
    """{place in `TrainState`: sum}."""
    leaves = jax.tree_util.tree_leaves_with_path(sums)
    return {path_string(path): int(value) for path, value in leaves}


def compare(found: dict[str, int], meta: dict[str, Any]) -> None:
    """Raise unless the arrays are those that were saved; older checkpoints have no sums."""
    found = {compatibility.place_then(name, meta): value for name, value in found.items()}
    saved = meta.get("checksums", found)
    changed = [name for name in found if found[name] != saved.get(name)]
    if changed:
        raise ValueError(f"not what was saved: {', '.join(changed)}")


def restore(
    checkpoints: ocp.CheckpointManager, abstract: TrainState, shardings: PyTree, config: Config
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest checkpoint on this run's mesh and its meta, or None when there is none.

    Args:
        checkpoints: the manager.
        abstract: state of shapes and dtypes (`jax.eval_shape`) to restore into.
        shardings: where each leaf goes.
        config: this run's configuration, compared with the checkpoint's.

    Raises:
        UserError: the checkpoint belongs to another configuration, cannot be read or is not what
            was saved.
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
        what = f"continue from step {max(older)}" if older else "begin again (there is no other)"
        raise UserError(
            f"checkpoint {folder} cannot be read ({reason(error)}); delete that folder to {what},"
            " or choose another --workdir"
        ) from error
    return state, meta


def _older(target: TrainState, folder: epath.Path, meta: dict[str, Any]) -> PyTree:
    """The tree of a checkpoint of an older schema, with the leaves of `target` at their places.

    Leaves that `target` has no place for are not read.
    """
    leaves = jax.tree_util.tree_leaves_with_path(target)
    wanted = {compatibility.place_then(path_string(path), meta): leaf for path, leaf in leaves}
    saved = ocp.PyTreeCheckpointer().metadata(folder / "state").item_metadata.tree
    return jax.tree_util.tree_map_with_path(
        lambda path, _: wanted.get(path_string(path), ocp.PLACEHOLDER), saved
    )


def _newer(tree: PyTree, target: TrainState, meta: dict[str, Any]) -> TrainState:
    """The arrays of a tree of an older schema at their places in `target`."""
    found = {path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: found[compatibility.place_then(path_string(path), meta)], target
    )


def reason(error: Exception) -> str:
    """One line about an error of Orbax or TensorStore, without their details."""
    line = str(error).strip().split("\n")[0]
    for details in (" [tensorstore_spec", " See full TensorStore"):
        line = line.split(details)[0]
    if len(line) > 300:  # paths fill the middle, the cause stands at the end
        line = f"{line[:150]} ... {line[-140:]}"
    return f"{type(error).__name__}: {line}"


@functools.cache
def quiet() -> None:
    """Do not print the error of a read or write once per array in progress; it is raised too."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Do not warn that a part of a checkpoint lacks a file which only the whole has.
    logging.getLogger("absl").addFilter(
        lambda record: (
            "orbax" not in record.pathname
            or not (record.exc_info or "_CHECKPOINT_METADATA" in record.getMessage())
        )
    )


def get(tree: PyTree, path: str) -> PyTree:
    """The value at "a/b" in a tree of dicts; {} where there is none."""
    for name in path.split("/"):
        tree = tree.get(name, {}) if isinstance(tree, dict) else {}
    return tree


def nested(parts: dict[str, PyTree]) -> PyTree:
    """{"a/b": x} -> {"a": {"b": x}}, without what is empty below."""
    flat = {
        path: value
        for path, value in parts.items()
        if "/" not in path or not isinstance(value, dict) or value
    }
    return traverse_util.unflatten_dict(flat, sep="/")
