"""A run starts from the parameters of another one, `config.init_from`.

What is taken must mean here what it meant there (checkpoint/compatibility.py); a recognition head
is taken symbol by symbol.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.checkpoint import compatibility, store
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.types import PyTree, TrainState

FIELDS = ("params", "ema", "task", "features")  # of `TrainState`; step and optimizer start fresh
FOLLOWERS = {  # running averages, and the parameters that they start as a copy of
    "task/teacher": "params/encoder",
    **{f"ema/{part}": f"params/{part}" for part in ("condition", "decoder", "generator")},
}
# Arrays whose last axis has a column for blank and one for each symbol, and the fields that decide
# what a column means beside its symbol.
COLUMNS = ("params/ctc/kernel", "params/ctc/bias")
HEAD_FIELDS = ("asr.layers", "asr.units", "asr.lexicon")

Arrays = dict[str, Any]  # by their paths in `TrainState`


def init_from(
    state: TrainState, shardings: PyTree, config: Config
) -> tuple[TrainState, list[str], bool]:
    """Replace the values of `state` by those of the run `config.init_from`, part by part.

    Taken are the surface features and the parts (`compatibility.PARTS`) that both runs have, or
    those of them that `config.init_parts` names. A running average or a teacher that the other run
    lacks starts as a copy of the parameters that it follows. In a recognition head the columns of
    blank and of the symbols that both alphabets have are copied; with other units, another lexicon
    or other input the head stays new.

    Args:
        state: fresh.
        shardings: of its arrays.
        config: of this run, with its alphabet.

    Returns:
        The new state; a report (loaded, left: only there, new: only here); whether some of the
        task's own state is new, so that the task has to take its start from the first batch.

    Raises:
        UserError: the configurations give a part another meaning, the other run lacks a part or
            some of its arrays, or it computes other surface features.
    """
    path = config.init_from
    source, meta = store.load_numpy(path, FIELDS)
    target = {field: getattr(state, field) for field in FIELDS}
    places = {field: getattr(shardings, field) for field in FIELDS}
    there, here, where = _named(source), _named(target), _named(places)
    available = _copies(there) | there

    parts = _choose(available, here, meta, config)
    _check_features(there, here, where, meta, config)
    _check_meaning(parts, meta, config)
    columns, notes, new_heads = None, [], []
    if "ctc" in parts:
        columns, notes = _match_symbols(meta, config)
        new_heads += ["ctc"] if columns is None else []
    # Exports have no codebooks, and a head's rows mean nothing without their codewords.
    alone = _inside("params/heads", available) and not _inside("task/codebooks", available)
    if alone and "heads" in parts:
        notes.append("heads: new ones, since the codebooks that they predict are not there")
        new_heads.append("heads")
    for part in new_heads:
        if part in config.init_parts:
            raise UserError(f"config.init_parts: {path} has no {part} to start from: {notes[-1]}")
        parts.remove(part)
    wanted = ["features", *(place for part in parts for place in _arrays(part))]
    taken = {name for place in wanted for name in _inside(place, available) if name in here}
    _check_complete(wanted, taken, available, here, path)

    def pick(key_path: tuple, leaf: jax.Array, sharding: jax.sharding.Sharding) -> jax.Array:
        name = path_string(key_path)
        if name not in taken:
            return leaf
        value = available[name].astype(leaf.dtype)
        if name in COLUMNS:
            known = columns >= 0
            value = jax.jit(jnp.where, out_shardings=sharding)(known, value[..., columns], leaf)
        return jax.device_put(value, sharding)

    result = jax.tree_util.tree_map_with_path(pick, target, places)
    left, new = sorted(there.keys() - taken), sorted(here.keys() - taken)
    report = [
        f"init_from {path} (step {meta['step']}): {len(taken)} arrays loaded, {len(left)} left,"
        f" {len(new)} new",
        *(f"  {note}" for note in notes),
        *(
            f"  {follower}: a copy of {leader}"
            for follower, leader in FOLLOWERS.items()
            if _inside(follower, taken) and not _inside(follower, there)
        ),
        *(f"  left: {name}" for name in left),
        *(f"  new:  {name}" for name in new),
    ]
    start = any(name.startswith("task/") for name in new)
    return state.replace(**result), report, start


def _named(tree: PyTree) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_string(path): leaf for path, leaf in leaves}


def _inside(place: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{place}/")]


def _arrays(part: str) -> tuple[str, ...]:
    return compatibility.PARTS[part].arrays


def _copies(there: Arrays) -> Arrays:
    """The averages that the other run lacks, as copies of what they follow."""
    return {
        name.replace(leader, follower, 1): there[name]
        for follower, leader in FOLLOWERS.items()
        if not _inside(follower, there)
        for name in _inside(leader, there)
    }


def _choose(available: Arrays, here: Arrays, meta: dict[str, Any], config: Config) -> list[str]:
    """The parts to take, in the order of the task's."""
    ours, path = compatibility.TASKS[config.task], config.init_from
    both = [
        part
        for part in ours
        if any(_inside(place, available) and _inside(place, here) for place in _arrays(part))
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
                f"config.init_parts: {part!r} is no part that {path} and this run both have; they"
                f" have {', '.join(both)}"
            )
    return [part for part in both if part in named or not named]


def _check_features(
    there: Arrays, here: Arrays, where: Arrays, meta: dict[str, Any], config: Config
) -> None:
    """Raise unless both runs compute the same surface features."""
    path = config.init_from
    for field, (then, now) in compatibility.differences(meta, config).items():
        if compatibility.matters(field, ("features",)):
            raise UserError(
                f"config.init_from: {path} has {field} = {then!r}, this run {now!r}; its parameters"
                f" fit only the same surface features: --config.{field}={then}"
            )
    # The folder of a codec may lie elsewhere, but the codec must be the same.
    names = {name for name in (*there, *here) if name.startswith("features/network/")}
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
    """Raise if the configurations, or the two versions of the program, give a part two meanings."""
    path, differ = config.init_from, compatibility.differences(meta, config)
    # How a head's columns differ is for `_match_symbols`.
    differ = {field: values for field, values in differ.items() if not field.startswith("asr.")}
    at_fault = {
        part: {f for f in differ if compatibility.matters(f, compatibility.PARTS[part].fields)}
        for part in parts
    }
    outdated = compatibility.outdated(meta)
    fit = [part for part in parts if not at_fault[part] and part not in outdated]
    rest = f"; or take the rest alone: --config.init_parts={','.join(fit)}" if fit else ""
    fields = sorted(set().union(*at_fault.values()))
    if fields:
        both = ", ".join(f"{f} = {differ[f][0]!r}, this run {differ[f][1]!r}" for f in fields)
        flags = " ".join(f"--config.{f}={differ[f][0]}" for f in fields)
        unfit = ", ".join(part for part in parts if at_fault[part])
        raise UserError(
            f"config.init_from: {path} has {both}; its parameters ({unfit}) would mean something"
            f" else here: {flags}{rest}"
        )
    for part in parts:
        if part in outdated:
            raise UserError(
                f"config.init_from: {path} was written by an older version, and the {part} has"
                f" changed since ({outdated[part]}); start from a newer run{rest}"
            )


def _match_symbols(meta: dict[str, Any], config: Config) -> tuple[np.ndarray | None, list[str]]:
    """For each column of this run's head that of the other's, -1 for none; None: a new head."""
    differ = compatibility.differences(meta, config)
    for field in HEAD_FIELDS:
        if field in differ:
            then, now = differ[field]
            return None, [f"ctc: a new head, since {field} is {then!r} there and {now!r} here"]
    theirs, ours = compatibility.values_then(meta)["asr.symbols"], config.asr.symbols
    common = set(theirs) & set(ours)
    if not common:
        return None, ["ctc: a new head, since the two alphabets have no symbol in common"]
    numbers = {symbol: number for number, symbol in enumerate(theirs, start=1)}
    columns = np.array([0, *(numbers.get(symbol, -1) for symbol in ours)])  # 0: blank
    if list(theirs) == list(ours):
        return columns, []
    note = f"ctc: the columns of blank and of {len(common)} symbols are taken by name"
    for what, symbols in (("new", ours), ("left", theirs)):
        if only := [symbol for symbol in symbols if symbol not in common]:
            note += f"; {what}: {' '.join(only)}"
    return columns, [note]


def _check_complete(
    wanted: list[str], taken: set[str], available: Arrays, here: Arrays, path: str
) -> None:
    """Raise if one of the wanted places would be filled in part, or with other shapes."""
    for place in wanted:
        if not _inside(place, taken):
            continue
        for name in _inside(place, here):
            if name not in taken:
                raise UserError(f"config.init_from: {path} has {place}, but no {name}")
            there, ours = available[name].shape, here[name].shape
            if name in COLUMNS:
                there, ours = there[:-1], ours[:-1]
            if there != ours:
                raise UserError(
                    f"config.init_from: {name} is {available[name].shape} in {path}, and"
                    f" {here[name].shape} here"
                )
