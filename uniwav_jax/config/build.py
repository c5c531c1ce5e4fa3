"""From a ConfigDict, which flags can change, to a checked `Config`, which nothing can."""

import dataclasses
import difflib
import typing
from typing import Any

import ml_collections

from uniwav_jax.config.fields import Config
from uniwav_jax.config.rules import validate
from uniwav_jax.errors import UserError

# name: (encoder layers, width, heads, ffn), (decoder ...), K, dropout as DinoSR base
SIZES = {
    "tiny": ((4, 160, 4, 640), (2, 128, 4, 340), 3, False),  # ours: CPU demo
    "small": ((12, 384, 6, 1536), (4, 384, 6, 1024), 8, False),  # ours
    "base": ((12, 768, 12, 3072), (6, 768, 12, 2048), 8, True),  # paper; dropout as DinoSR base
    "large": ((24, 1024, 16, 4096), (12, 1024, 16, 2816), 10, False),  # paper
}


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
    if not dropout:
        config.model.encoder.update(dropout=0.0, attention_dropout=0.0, layer_drop=0.0)
    if size == "large":
        config.optim.lr = 2e-4
    return config.lock()


def recognition_config(
    size: str = "base", rows: dict[str, tuple[int, float, int, float, float]] | None = None
) -> ml_collections.ConfigDict:
    """`default_config` for task asr with what wav2vec 2.0's recipes for LibriSpeech share.

    Args:
        size: of the encoder.
        rows: {size: (updates, peak learning rate, updates of the head alone, time mask, channel
            mask)}.

    Raises:
        UserError: no such size, or no row for it.
    """
    config = default_config(size)
    if rows is not None:
        if size not in rows:
            raise UserError(f"no recipe for size '{size}' here; there are: {', '.join(rows)}")
        config.train.steps, config.optim.lr, config.asr.freeze_steps, *masks = rows[size]
        config.asr.time_mask, config.asr.channel_mask = masks
    config.task = "asr"
    config.data.buckets = (4.0, 8.0, 12.0, 16.0, 20.0, 36.0)  # whole clips of LibriSpeech; ours
    config.data.min_seconds = 0.3  # ours
    config.data.batch_seconds = 1920.0 if size == "large" else 1600.0
    config.optim.weight_decay = 0.0
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.1, 0.4, 0.5
    config.optim.final_scale = 0.05
    config.optim.eps = 1e-8
    # Ours: blanks alone are no alarm before the whole model has learnt at its full rate.
    warmup = round(config.optim.warmup * config.train.steps)
    config.health.grace_steps += max(warmup, config.asr.freeze_steps)
    config.evaluate.batches, config.evaluate.sample_every = 0, 0
    config.checkpoint.keep_every = 0  # ours
    return config


def from_dict(values: Any) -> Config:
    """Build and validate a `Config` from a ConfigDict or a plain nested dict.

    Raises:
        UserError: an unknown key, a value of the wrong type or an impossible combination.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    config = _build(Config, values, "config")
    validate(config)
    return config


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
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{path} must be {hint.__name__}, got {value!r}")
    return value
