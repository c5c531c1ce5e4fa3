"""Writes checkpoints in the format of older versions."""

import json
from typing import Any

import jax
import optax
import orbax.checkpoint as ocp
from flax import struct

from uniwav_jax.checkpoint import store
from uniwav_jax.train import optim


@struct.dataclass
class OldState:
    """The state as schema 2 saved it."""

    step: Any
    params: Any
    opt_state: Any
    ema: Any
    task: Any
    features: Any
    skipped: Any


def optimizer(config, frozen):
    """The optimizer of schema 2, which froze parts at the start and at the end of the chain."""
    whole = optim.make(config, {"encoder": 5} if frozen else {})
    return whole if frozen else optim.make(config, {})


def save(folder, config, state, opt_state=None, schema=2):
    """Save a checkpoint in schema 1 or 2, with the names of the configuration at that time."""
    values = json.loads(config.to_json())
    text = values.pop("text")
    values["asr"] |= {name: text[name] for name in ("symbols", "units", "lexicon", "lowercase")}
    del values["codec"]["ema_decay"], values["options"]
    values["flow"]["ema_decay"] = 0.75
    old = OldState(
        step=state.step,
        params=state.params,
        opt_state=opt_state or optax.EmptyState(),
        ema=state.ema,
        task=state.state,
        features=state.frozen["features"],
        skipped=state.skipped,
    )
    meta = {"schema": schema, "step": 7, "config": values, "versions": {}, "data": {}}
    meta["checksums"] = store.named(store.bit_sums(jax.device_get(old)))
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(old), meta=ocp.args.JsonSave(meta))
        manager.save(7, args=args)
