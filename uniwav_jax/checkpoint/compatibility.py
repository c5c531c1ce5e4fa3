"""Checks whether a checkpoint's parameters have the same meaning in this run's configuration.

Equal names and shapes are not enough: weights of a pre-norm encoder fit into a post-norm one, heads
that all read the last layer fit heads that read one layer each, and rows of one alphabet fit
another of the same size. Each part of a model therefore names the fields of the configuration that
its meaning depends on.
"""

import importlib.metadata
import json
import re
from collections.abc import Iterable
from typing import Any

from etils import epath

from uniwav_jax import config as config_lib
from uniwav_jax import tasks
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.tasks.task import FOREVER

SCHEMA = 3
# {schema: parts that are computed differently since then, with the same parameters' names and
# shapes}.
CHANGED = {2: {"decoder": "its U-Net skips carried the layers' outputs and now carry their inputs"}}
# {schema: fields of the configuration that were removed in it}; new fields have their defaults.
DROPPED = {
    2: """distillation.teacher_positions distillation.teacher_decay_start
    distillation.teacher_decay_end distillation.teacher_decay_steps""".split()
}
# {schema: fields that it renamed, as (new name, old name)}.
RENAMED = {
    3: tuple(
        (f"text.{name}", f"asr.{name}") for name in ("symbols", "units", "lexicon", "lowercase")
    )
}
# {schema: paths in `TrainState` that it renamed, as (new path, old path)}.
MOVED = {3: (("state", "task"), ("frozen/features", "features"))}
# Fields that do not affect the meaning of parameters.
FREE = frozenset(
    """features.codec features.stats features.stats_seconds model.encoder.dropout
    model.encoder.attention_dropout model.encoder.activation_dropout model.encoder.layer_drop
    model.decoder.dropout""".split()
)


def current(meta: dict[str, Any], path: str | epath.Path) -> dict[str, Any]:
    """The metadata of a checkpoint, with its configuration converted to the current schema.

    Args:
        meta: {"schema", "step", "config", ...} as saved.
        path: the checkpoint, named in the message.

    Raises:
        UserError: the checkpoint was written by a newer version.
    """
    if (schema := meta.get("schema", 0)) > SCHEMA:
        raise UserError(
            f"checkpoint {path} has schema {schema}, this version reads up to {SCHEMA}; use the"
            " version that wrote it"
        )
    config = json.loads(json.dumps(meta["config"]))
    for number, pairs in RENAMED.items():
        for now, before in pairs if schema < number else ():
            group, name = before.split(".")
            if name in config.get(group, {}):
                new_group, new_name = now.split(".")
                config.setdefault(new_group, {})[new_name] = config[group].pop(name)
    if schema < 3 and config.get("task") == "codec" and "ema_decay" in config.get("flow", {}):
        config["codec"]["ema_decay"] = config["flow"]["ema_decay"]
    for number, fields in DROPPED.items():
        for field in fields if schema < number else ():
            group, name = field.split(".")
            config.get(group, {}).pop(name, None)
    return {**meta, "config": config}


def place_then(place: str, meta: dict[str, Any]) -> str:
    """The path that the arrays at a path of the current `TrainState` have in a checkpoint.

    Args:
        place: path such as "state/teacher/layers/up/kernel"; items of tuples are "[0]", "[1]", ...
        meta: metadata of the checkpoint.
    """
    schema = meta.get("schema", 0)
    if schema < 3:
        # An encoder frozen for the whole run had moments then, and freezing was the first
        # transformation in the chain.
        found = re.fullmatch(r"opt_state/inner_states/trained/inner_state/\[(\d+)\](/.*)?", place)
        if found:
            return f"opt_state/[{int(found[1]) + 1}]{found[2] or ''}"
    for number, pairs in MOVED.items():
        for now, before in pairs if schema < number else ():
            if place == now or place.startswith(now + "/"):
                return before + place.removeprefix(now)
    return place


def places_then(places: Iterable[str], meta: dict[str, Any]) -> dict[str, str]:
    """{path now: path in the checkpoint}; a path is divided if its parts were in several places."""
    moved = [
        now
        for number, pairs in MOVED.items()
        for now, _ in (pairs if meta.get("schema", 0) < number else ())
    ]
    inside = {place: [now for now in moved if now.startswith(place + "/")] for place in places}
    return {now: place_then(now, meta) for place in inside for now in inside[place] or [place]}


def versions() -> dict[str, str]:
    """{package: version} of the packages that affect the numbers."""
    names = "uniwav_jax jax jaxlib flax optax orbax-checkpoint grain numpy".split()
    return {name: importlib.metadata.version(name) for name in names}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts: {"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def values_then(meta: dict[str, Any]) -> dict[str, Any]:
    """{field: value} of the checkpoint's run; fields added since then have their defaults."""
    return flatten(json.loads(Config().to_json())) | flatten(meta["config"])


def values_now(config: Config) -> dict[str, Any]:
    """{field: value} of this run; tuples are lists, as in JSON."""
    return flatten(json.loads(config.to_json()))


def differences(meta: dict[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """{field: (value in the checkpoint, value in this run)} of all fields that differ."""
    then, now = values_then(meta), values_now(config)
    pairs = {key: (then.get(key), now.get(key)) for key in sorted(set(now) | set(then))}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def matters(field: str, fields: Iterable[str]) -> bool:
    """Whether a field is one of `fields` (or in one of them that is a group) and not in `FREE`."""
    return field not in FREE and any(field == f or field.startswith(f + ".") for f in fields)


def outdated(meta: dict[str, Any]) -> dict[str, str]:
    """{part of a checkpoint's model that this version computes differently: the difference}."""
    changed = {}
    for number, parts in CHANGED.items():
        if meta.get("schema", 0) < number:
            changed |= parts
    parts = tasks.get(values_then(meta)["task"]).parts
    return {part: how for part, how in changed.items() if part in parts}


def check_resume(meta: dict[str, Any], config: Config, folder: epath.Path) -> None:
    """Raise unless this run can continue from the checkpoint; print a note about other changes.

    Args:
        meta: metadata of the checkpoint.
        config: configuration of this run.
        folder: the checkpoint, named in the message.

    Raises:
        UserError: the checkpoint has another meaning; the message names the first field.
    """
    instead = "choose another --workdir, or start from its parameters with --config.init_from"
    parts = tasks.get(config.task).parts
    fields = {"task", "features", "options"}.union(*(part.fields for part in parts.values()))
    # The symbols define the alphabet, whichever lexicon turns texts into them.
    fields -= {"text.lexicon"}
    for part, how in outdated(meta).items():
        raise UserError(
            f"checkpoint {folder} was written by an older version, and the {part} has changed since"
            f" ({how}); use that version, or start from the other parts in another --workdir with"
            f" --config.init_from and --config.init_parts={','.join(p for p in parts if p != part)}"
        )
    for key, (then, now) in differences(meta, config).items():
        change = f"config.{key}: {then!r} in the checkpoint, {now!r} now"
        if matters(key, fields):
            raise UserError(f"checkpoint {folder} was made with another {change}; {instead}")
        if not key.startswith(("checkpoint.", "evaluate.", "mesh.", "train.log_every", "init_")):
            print(f"note: {change}; the resumed run differs from an uninterrupted one", flush=True)
    frozen_then, frozen_now = _freezing(config_lib.build(meta["config"])), _freezing(config)
    if frozen_then != frozen_now:
        changes = ", ".join(f"config.{key}" for key in differences(meta, config))
        raise UserError(
            f"checkpoint {folder} was made with other frozen parts ({frozen_then or 'none'}; now"
            f" {frozen_now or 'none'}), so that the optimizer's states differ; changed are"
            f" {changes}; {instead}"
        )
    current = versions()
    for name, version in meta.get("versions", {}).items():
        if current.get(name) != version:
            print(f"note: checkpoint written with {name} {version}, running {current.get(name)}")


def _freezing(config: Config) -> str:
    """The parts frozen at first and for the whole run; the optimizer's arrays depend on them."""
    freezes = tasks.get(config.task).freezes(config)
    kinds = {
        part: "for the whole run" if n == FOREVER else "at first" for part, n in freezes.items()
    }
    return ", ".join(f"{part} {kind}" for part, kind in sorted(kinds.items()))
