"""Starts a run from the parameters of another run or of weights, which `config.init_from` names.

Parameters must have the same meaning in both runs (checkpoint/compatibility.py). The columns of a
recognition head are taken symbol by symbol.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from uniwav_jax import tasks
from uniwav_jax.checkpoint import compatibility, reader, weights
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.types import PyTree, TrainState

# Fields of `TrainState` that are taken; step and optimizer start from fresh values.
FIELDS = ("params", "ema", "state", "frozen")
# Fields that have no effect on a codec's latents.
LOG_MEL = tuple(f"features.{name}" for name in ("mel_bands", "window", "mel_low", "mel_high"))
Arrays = dict[str, Any]  # {path in `TrainState`: array}


def init_from(
    state: TrainState, shardings: PyTree, config: Config
) -> tuple[TrainState, list[str], frozenset[str]]:
    """Replace values of `state` by those of the run `config.init_from`, part by part.

    The surface features are taken, and all parts (`Task.parts`) that both runs have, or those of
    them that `config.init_parts` names. A running average or a teacher that the other run does not
    have starts as a copy of the parameters that it averages. In a recognition head the columns of
    the blank and of the symbols in both alphabets are copied; if units, lexicon or the head's input
    differ, the head keeps its fresh values.

    Args:
        state: a fresh state.
        shardings: shardings of its arrays.
        config: configuration of this run, with its alphabet.

    Returns:
        The new state; the lines of a report, which lists arrays that only the other run has
        ("left") and arrays that keep fresh values ("new"); and the names of the entries of
        `TrainState.state` that were taken completely, which the task's warm start does not change.

    Raises:
        UserError: a part has different meanings in the two configurations, the other run does not
            have a part or some of its arrays, or its surface features differ.
    """
    path, task = config.init_from, tasks.get(config.task)
    source, meta = _read(path)
    target = {field: getattr(state, field) for field in FIELDS}
    places = {field: getattr(shardings, field) for field in FIELDS}
    there, here, where = _named(source), _named(target), _named(places)
    follows = task.follows(config)
    available = _copies(there, follows) | there

    parts = _choose(available, here, meta, config)
    _check_features(there, here, where, meta, config)
    _check_meaning(parts, meta, config)
    columns, notes, new_parts = {}, [], []
    for part in parts:
        if matched := task.parts[part].columns:
            found, more = matched.match(compatibility.values_then(meta), config)
            notes += more
            columns |= dict.fromkeys(matched.arrays if found is not None else (), found)
            new_parts += [part] if found is None else []
        missing = [place for place in task.parts[part].needs if not _inside(place, available)]
        if missing:
            notes.append(f"{part}: starts anew, because there is no {', '.join(missing)}")
            new_parts.append(part)
    for part in new_parts:
        if part in config.init_parts:
            raise UserError(f"config.init_parts: {path} has no {part} to start from: {notes[-1]}")
        parts.remove(part)
    wanted = ["frozen", *(place for part in parts for place in task.parts[part].arrays)]
    taken = {name for place in wanted for name in _inside(place, available) if name in here}
    _check_complete(wanted, taken, available, here, path, columns)

    def pick(key_path: tuple, leaf: jax.Array, sharding: jax.sharding.Sharding) -> jax.Array:
        name = path_string(key_path)
        if name not in taken:
            return leaf
        value = available[name].astype(leaf.dtype)
        if name in columns:
            known = columns[name] >= 0
            value = value[..., columns[name]]
            value = jax.jit(jnp.where, out_shardings=sharding)(known, value, leaf)
        return jax.device_put(value, sharding)

    result = jax.tree_util.tree_map_with_path(pick, target, places)
    left, new = sorted(there.keys() - taken), sorted(here.keys() - taken)
    report = [
        f"init_from {path} (step {meta['step']}): {len(taken)} arrays loaded, {len(left)} left,"
        f" {len(new)} new",
        *(f"  {note}" for note in notes),
        *(
            f"  {follower}: a copy of {leader}"
            for follower, leader in follows.items()
            if _inside(follower, taken) and not _inside(follower, there)
        ),
        *(f"  left: {name}" for name in left),
        *(f"  new:  {name}" for name in new),
    ]
    kept = [name for name in state.state if not _inside(f"state/{name}", new)]
    return state.replace(**result), report, frozenset(kept)


def _read(path: str) -> tuple[PyTree, dict[str, Any]]:
    """The arrays of a run by field of `TrainState`, and its metadata."""
    folder = weights.shipped().get(path, path)
    if weights.is_folder(folder):
        return weights.as_checkpoint(folder)
    checkpoint = reader.open(path)
    return checkpoint.arrays(*FIELDS), checkpoint.meta


def _named(tree: PyTree) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_string(path): leaf for path, leaf in leaves}


def _inside(place: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{place}/")]


def _copies(there: Arrays, follows: dict[str, str]) -> Arrays:
    """The averages that the other run does not have, as copies of the averaged parameters."""
    return {
        name.replace(leader, follower, 1): there[name]
        for follower, leader in follows.items()
        if not _inside(follower, there)
        for name in _inside(leader, there)
    }


def _choose(available: Arrays, here: Arrays, meta: dict[str, Any], config: Config) -> list[str]:
    """The parts to take, in the order of `Task.parts`."""
    ours, path = tasks.get(config.task).parts, config.init_from
    both = [
        part
        for part in ours
        if any(_inside(place, available) and _inside(place, here) for place in ours[part].arrays)
    ]
    if not both:
        raise UserError(
            f"config.init_from: {path} is a run of task {compatibility.values_then(meta)['task']}"
            f" and has no part that task {config.task} could start from ({', '.join(ours)})"
        )
    named = [part.strip() for part in config.init_parts.split(",") if part.strip()]
    for part in named:
        if part not in both:
            raise UserError(
                f"config.init_parts: {part!r} is not a part of both {path} and this run; they share"
                f" {', '.join(both)}"
            )
    return [part for part in both if part in named or not named]


def _check_features(
    there: Arrays, here: Arrays, where: Arrays, meta: dict[str, Any], config: Config
) -> None:
    """Raise unless both runs compute the same surface features."""
    path = config.init_from
    unread = LOG_MEL if config.features.kind == "codec" else ()
    for field, (then, now) in compatibility.differences(meta, config).items():
        if compatibility.matters(field, ("features",)) and field not in unread:
            raise UserError(
                f"config.init_from: {path} has {field} = {then!r}, this run {now!r}; its parameters"
                f" fit only the same surface features: --config.{field}={then}"
            )
    # The codec's folder may have another path, but the codec must be the same.
    names = {name for name in (*there, *here) if name.startswith("frozen/features/network/")}
    same = all(
        name in there and name in here and there[name].shape == here[name].shape for name in names
    )
    if same and names:
        placed = {name: jax.device_put(there[name], where[name]) for name in names}
        equal = jax.jit(lambda a, b: jnp.array([jnp.array_equal(a[n], b[n]) for n in names]).all())
        same = bool(equal(placed, {name: here[name] for name in names}))
    if not same:
        raise UserError(
            f"config.init_from: {path} has the latents of another codec than config.features.codec"
            f" ({config.features.codec}); name the folder of the codec that it was trained with"
        )


def _check_meaning(parts: list[str], meta: dict[str, Any], config: Config) -> None:
    """Raise if a part's meaning differs between the configurations or the program's versions."""
    path, differ = config.init_from, compatibility.differences(meta, config)
    ours = tasks.get(config.task).parts
    at_fault = {part: set() for part in parts}
    for part in parts:
        fields = ours[part].fields
        if ours[part].columns:  # `Columns.match` handles differences between the columns
            fields = [field for field in fields if field.startswith("model.")]
        at_fault[part] = {field for field in differ if compatibility.matters(field, fields)}
    outdated = compatibility.outdated(meta)
    fit = [part for part in parts if not at_fault[part] and part not in outdated]
    rest = f"; or take only the other parts: --config.init_parts={','.join(fit)}" if fit else ""
    fields = sorted(set().union(*at_fault.values()))
    if fields:
        both = ", ".join(f"{f} = {differ[f][0]!r}, this run {differ[f][1]!r}" for f in fields)
        flags = " ".join(f"--config.{f}={differ[f][0]}" for f in fields)
        unfit = ", ".join(part for part in parts if at_fault[part])
        raise UserError(
            f"config.init_from: {path} has {both}; its parameters ({unfit}) would have another"
            f" meaning here; set {flags}{rest}"
        )
    for part in parts:
        if part in outdated:
            raise UserError(
                f"config.init_from: {path} was written by an older version, and the {part} has"
                f" changed since ({outdated[part]}); start from a newer run{rest}"
            )


def _check_complete(
    wanted: list[str],
    taken: set[str],
    available: Arrays,
    here: Arrays,
    path: str,
    columns: Iterable[str],
) -> None:
    """Raise if only some arrays of a wanted path would be taken, or if shapes differ."""
    for place in wanted:
        if not _inside(place, taken):
            continue
        for name in _inside(place, here):
            if name not in taken:
                raise UserError(f"config.init_from: {path} has {place}, but no {name}")
            there, ours = available[name].shape, here[name].shape
            if name in columns:
                there, ours = there[:-1], ours[:-1]
            if there != ours:
                raise UserError(
                    f"config.init_from: {name} is {available[name].shape} in {path}, and"
                    f" {here[name].shape} here"
                )
