"""From a ConfigDict, which flags can change, to a checked `Config`, which nothing can."""

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
    # Attention without dropout may take the fused kernels of GPUs.
    "hidden": {"dropout": 0.1, "attention_dropout": 0.0, "layer_drop": 0.05},
    "all": {"dropout": 0.1, "attention_dropout": 0.1, "layer_drop": 0.05},  # DinoSR base
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Fine-tuning for recognition with so many hours of labels: one of fairseq's recipes."""

    steps: int
    lr: float  # peak
    freeze_steps: int  # updates of the head alone
    time_mask: float
    channel_mask: float
    layer_drop: float
    batch_seconds: float  # samples per GPU x GPUs x batches per update / 16 000


def default_config(size: str = "base") -> ml_collections.ConfigDict:
    """A locked ConfigDict of all fields with the sizes of `size` (a key of `SIZES`) filled in."""
    if size not in SIZES:
        raise UserError(f"unknown model size '{size}'; choose one of {', '.join(SIZES)}")
    encoder, decoder, top_layers, dropout = SIZES[size]
    config = ml_collections.ConfigDict(dataclasses.asdict(Config()))
    config.model.size = size
    for part, sizes in ((config.model.encoder, encoder), (config.model.decoder, decoder)):
        part.layers, part.width, part.heads, part.ffn = sizes
    config.distillation.top_layers = top_layers
    config.model.encoder.update(DROPOUTS[dropout])
    if size == "large":
        config.optim.lr = 2e-4
    return config.lock()


def recognition_config(
    size: str = "base", rows: dict[str, Row] | None = None
) -> ml_collections.ConfigDict:
    """`default_config` for task asr with what fairseq's recipes for wav2vec 2.0 share.

    Their dropout is that of the activations inside the feed-forward layers and of whole layers,
    and none elsewhere, after the last layer ("final dropout") neither; gradients are not clipped.
    Other than there, the loss is per token and not per utterance, to whose scale Adam is
    indifferent. Values without a source are ours.

    Args:
        size: of the encoder.
        rows: the recipes by size; None leaves the lengths, rates and masks at their defaults.

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
    config.data.buckets = (4.0, 8.0, 12.0, 16.0, 20.0, 36.0)  # whole clips of LibriSpeech
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
    """A `Config` of a nested dict, with defaults for what is left out; types are checked.

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
    """The value VALUE of a module for "module:VALUE", for tasks outside the package.

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
    """'; did you mean ...?' with the nearest known names, or the list of them."""
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
