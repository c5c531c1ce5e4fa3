"""Whether the parameters of a checkpoint mean in this run what they meant in theirs.

Equal names and shapes are not enough: weights of a pre-norm encoder fit a post-norm one, heads that
read the last layer fit heads that read each its own, and rows of one alphabet fit another of the
same size. So each part of a model names the fields of the configuration that its meaning rests on.
"""

import dataclasses
import importlib.metadata
import json
from collections.abc import Iterable
from typing import Any

from etils import epath

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError

SCHEMA = 2
# Parts that are computed otherwise since a schema, with the parameters' names and shapes unchanged.
CHANGED = {2: {"decoder": "its U-Net skips held the layers' outputs and now hold their inputs"}}
# Fields of the configuration that a schema has no longer; what took their place has its default.
DROPPED = {
    2: """distillation.teacher_positions distillation.teacher_decay_start
    distillation.teacher_decay_end distillation.teacher_decay_steps""".split()
}


@dataclasses.dataclass(frozen=True)
class Part:
    """Arrays that belong together.

    Attributes:
        arrays: where they lie in `TrainState`.
        fields: fields and groups of the configuration that decide what the arrays mean.
    """

    arrays: tuple[str, ...]
    fields: tuple[str, ...]


PARTS = {
    "encoder": Part(("params/encoder", "task/teacher"), ("model.encoder",)),
    "heads": Part(
        ("params/heads", "task/codebooks"),
        (
            *("model.encoder", "distillation.prediction"),
            *("distillation.top_layers", "distillation.codewords"),
        ),
    ),
    "decoder": Part(
        ("params/condition", "params/decoder", "ema/condition", "ema/decoder"),
        ("model.encoder", "model.decoder", "flow.context"),
    ),
    "ctc": Part(
        ("params/ctc",), ("model.encoder", "asr.layers", "asr.units", "asr.lexicon", "asr.symbols")
    ),
    "generator": Part(
        ("params/generator", "ema/generator", "task/norms", "task/codebooks"),
        ("codec.structure", "codec.bottleneck"),
    ),
    "discriminator": Part(
        ("params/discriminator",), ("codec.discriminator_filters", "codec.discriminator_windows")
    ),
}
TASKS = {
    "pretrain": ("encoder", "heads", "decoder"),
    "asr": ("encoder", "ctc"),
    "codec": ("generator", "discriminator"),
}
# Fields of those groups that change nothing in what parameters mean.
FREE = frozenset(
    """features.codec features.stats features.stats_seconds model.encoder.dropout
    model.encoder.attention_dropout model.encoder.activation_dropout model.encoder.layer_drop
    model.decoder.dropout""".split()
)


def current(meta: dict[str, Any], path: str | epath.Path) -> dict[str, Any]:
    """The meta of checkpoint `path` with a configuration that this version reads.

    Raises:
        UserError: the checkpoint is younger than this version.
    """
    if (schema := meta.get("schema", 0)) > SCHEMA:
        raise UserError(
            f"checkpoint {path} has schema {schema}, this version reads up to {SCHEMA}; use the"
            " version that wrote it"
        )
    config = json.loads(json.dumps(meta["config"]))
    for number, fields in DROPPED.items():
        for field in fields if schema < number else ():
            group, name = field.split(".")
            config.get(group, {}).pop(name, None)
    return {**meta, "config": config}


def versions() -> dict[str, str]:
    """Versions of the packages that decide the numbers."""
    names = "uniwav_jax jax jaxlib flax optax orbax-checkpoint grain numpy".split()
    return {name: importlib.metadata.version(name) for name in names}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def values_then(meta: dict[str, Any]) -> dict[str, Any]:
    """{field: value} of the checkpoint's run; fields that are younger had their defaults."""
    return flatten(json.loads(Config().to_json())) | flatten(meta["config"])


def values_now(config: Config) -> dict[str, Any]:
    """{field: value} of this run, with lists for tuples as JSON has it."""
    return flatten(json.loads(config.to_json()))


def differences(meta: dict[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """{field: (value in the checkpoint, value in this run)} of all fields that differ."""
    then, now = values_then(meta), values_now(config)
    pairs = {key: (then.get(key), now.get(key)) for key in sorted(set(now) | set(then))}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def matters(field: str, fields: Iterable[str]) -> bool:
    """Whether a field is one of `fields`, or in one of these groups, and not free."""
    return field not in FREE and any(field == f or field.startswith(f + ".") for f in fields)


def outdated(meta: dict[str, Any]) -> dict[str, str]:
    """Parts of a checkpoint's model that this version computes otherwise, and how."""
    changed = {}
    for number, parts in CHANGED.items():
        if meta.get("schema", 0) < number:
            changed |= parts
    parts = TASKS[values_then(meta)["task"]]
    return {part: how for part, how in changed.items() if part in parts}


def check_resume(meta: dict[str, Any], config: Config, folder: epath.Path) -> None:
    """Raise unless a run of this configuration can go on from the checkpoint; print other changes.

    Raises:
        UserError: in one line, with the first field at fault.
    """
    instead = "choose another --workdir, or start from its parameters with --config.init_from"
    parts = TASKS[config.task]
    fields = {"task", "features"}.union(*(PARTS[part].fields for part in parts))
    # An alphabet is what its symbols are, however the texts are turned into them.
    fields -= {"asr.lexicon"}
    for part, how in outdated(meta).items():
        raise UserError(
            f"checkpoint {folder} was written by an older version, and the {part} has changed since"
            f" ({how}); use that version, or start from the other parts in another --workdir with"
            f" --config.init_from and --config.init_parts={','.join(p for p in parts if p != part)}"
        )
    freezes = _freezes(values_then(meta))
    for key, (then, now) in differences(meta, config).items():
        change = f"config.{key}: {then!r} in the checkpoint, {now!r} now"
        if matters(key, fields):
            raise UserError(f"checkpoint {folder} was made with another {change}; {instead}")
        if key in ("asr.frozen", "asr.freeze_steps") and freezes != _freezes(values_now(config)):
            raise UserError(
                f"checkpoint {folder} was made with another {change}: only one of the two freezes"
                f" the encoder, so that the optimizer's states differ; {instead}"
            )
        if not key.startswith(("checkpoint.", "evaluate.", "mesh.", "train.log_every", "init_")):
            print(f"note: {change}; the resumed run differs from an undisturbed one", flush=True)
    current = versions()
    for name, version in meta.get("versions", {}).items():
        if current.get(name) != version:
            print(f"note: checkpoint written with {name} {version}, running {current.get(name)}")


def _freezes(values: dict[str, Any]) -> bool:
    """Whether the optimizer of these values freezes the encoder at first or for good."""
    frozen = values["asr.frozen"] or values["asr.freeze_steps"] > 0
    return values["task"] == "asr" and frozen
