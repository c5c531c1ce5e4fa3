"""Conversion of a ConfigDict, which flags can change, into a checked and immutable `Config`."""

import dataclasses
import difflib
import importlib
import typing
from typing import Any

import ml_collections

from uniwav_jax.config.fields import Config
from uniwav_jax.config.rules import validate
from uniwav_jax.errors import UserError

# name: (encoder layers, width, heads, ffn), (decoder ...), K, dropout. Depths, widths and heads of
# base and large are the paper's; numbers without a source are ours.
SIZES = {
    "tiny": ((4, 160, 4, 640), (2, 128, 4, 340), 3, "none"),  # for CPUs
    "small": ((12, 384, 6, 1536), (4, 384, 6, 1024), 8, "hidden"),
    "base": ((12, 768, 12, 3072), (6, 768, 12, 2048), 8, "all"),  # K and dropout: DinoSR base
    "large": ((24, 1024, 16, 4096), (12, 1024, 16, 2816), 10, "none"),
}
DROPOUTS = {
    "none": {"dropout": 0.0, "attention_dropout": 0.0, "layer_drop": 0.0},
    # Attention without dropout can use the fused kernels of GPUs.
    "hidden": {"dropout": 0.1, "attention_dropout": 0.0, "layer_drop": 0.05},
    "all": {"dropout": 0.1, "attention_dropout": 0.1, "layer_drop": 0.05},  # DinoSR base
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One of fairseq's recipes for fine-tuning with a given number of hours of transcribed speech.

    Attributes:
        steps: updates.
        lr: peak learning rate.
        freeze_steps: updates at the start in which only the head is trained.
        time_mask: share of the frames in masked spans, in [0, 1], if spans did not overlap.
        channel_mask: the same share of the channels.
        layer_drop: probability of skipping an encoder layer in an update.
        batch_seconds: seconds of audio per update (samples per GPU x GPUs x batches per update /
            16 000).
    """

    steps: int
    lr: float
    freeze_steps: int
    time_mask: float
    channel_mask: float
    layer_drop: float
    batch_seconds: float


def default_config(size: str = "base") -> ml_collections.ConfigDict:
    """A locked ConfigDict of all fields, with the dimensions of the preset `size` filled in.

    Args:
        size: a key of `SIZES`.

    Raises:
        UserError: there is no such size.
    """
    if size not in SIZES:
        raise UserError(f"unknown model size '{size}'; choose one of {', '.join(SIZES)}")
    encoder, decoder, top_layers, dropout = SIZES[size]
    config = ml_collections.ConfigDict(dataclasses.asdict(Config()))
    config.model.size = size
    for part, sizes in ((config.model.encoder, encoder), (config.model.decoder, decoder)):
        part.layers, part.width, part.heads, part.ffn = sizes
    config.distillation.top_layers = top_layers
    config.features.kind = "log_mel" if size == "tiny" else "codec"
    config.model.encoder.update(DROPOUTS[dropout])
    if size == "large":
        config.optim.lr = 2e-4
    return config.lock()


def recognition_config(
    size: str = "base", rows: dict[str, Row] | None = None
) -> ml_collections.ConfigDict:
    """`default_config` for task asr with the values that fairseq's wav2vec 2.0 recipes share.

    They apply dropout only to the activations inside the feed-forward layers and to whole layers,
    have no "final dropout" after the last layer, and do not clip gradients. Unlike fairseq's, our
    loss is divided by tokens and not by utterances; Adam is invariant to that scale. Values without
    a source are ours.

    Args:
        size: size of the encoder, a key of `SIZES`.
        rows: recipes by size; with None, the run's length, learning rate and masks keep their
            defaults.

    Raises:
        UserError: no such size, or no row for it.
    """
    config = default_config(size)
    config.task = "asr"
    config.model.encoder.update(DROPOUTS["none"])  # fairseq
    config.model.encoder.activation_dropout = 0.1  # fairseq
    if rows is not None:
        if size not in rows:
            raise UserError(f"no recipe for size '{size}' here; there are: {', '.join(rows)}")
        row = rows[size]
        config.train.steps, config.optim.lr = row.steps, row.lr
        config.asr.freeze_steps = row.freeze_steps
        config.asr.time_mask, config.asr.channel_mask = row.time_mask, row.channel_mask
        config.model.encoder.layer_drop = row.layer_drop
        config.data.batch_seconds = row.batch_seconds
    config.data.buckets = (4.0, 8.0, 12.0, 16.0, 20.0, 36.0)  # LibriSpeech's clips are not cropped
    config.data.min_seconds = 0.3
    config.optim.weight_decay = 0.0  # fairseq
    config.optim.clip = 0.0  # fairseq
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.1, 0.4, 0.5  # fairseq
    config.optim.final_scale = 0.05  # fairseq
    config.optim.eps = 1e-8  # fairseq
    config.evaluate.batches, config.evaluate.sample_every = 0, 0
    config.checkpoint.keep_every = 0
    return config


def from_dict(values: Any) -> Config:
    """Build and validate a `Config` from a ConfigDict or a plain nested dict.

    Raises:
        UserError: an unknown key, a value of the wrong type or an impossible combination.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    config = build(values)
    validate(config)
    return config


def build(values: dict[str, Any]) -> Config:
    """Build a `Config` from a nested dict; missing fields get defaults, and types are checked.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    options = values.get("options")
    config = _build(Config, {**values, "options": None}, "config")
    if ":" not in config.task:
        return config
    cls = named_value(config.task).Options
    if cls is None:
        return config
    return dataclasses.replace(config, options=_build(cls, options or {}, "config.options"))


def named_value(name: str) -> Any:
    """Import VALUE from a module for a name "module:VALUE" (a task outside the package).

    Raises:
        UserError: there is no such module or value.
    """
    module, _, value = name.partition(":")
    try:
        return getattr(importlib.import_module(module), value)
    except (ImportError, AttributeError) as error:
        raise UserError(f"config.task={name} cannot be imported: {error}") from error


def _build(cls: type, values: dict[str, Any], path: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise UserError(f"unknown config key '{path}.{key}'" + did_you_mean(key, fields))
    hints = typing.get_type_hints(cls)
    return cls(**{k: _cast(hints[k], v, f"{path}.{k}") for k, v in values.items()})


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """The end of a message about an unknown `key`: the most similar names, or all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known here: {', '.join(known)}"


def _cast(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise UserError(f"{path} must be a group of fields, got {value!r}")
        return _build(hint, value, path)
    if typing.get_origin(hint) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_cast(typing.get_args(hint)[0], item, path) for item in items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any:
        return value
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{path} must be {hint.__name__}, got {value!r}")
    return value
