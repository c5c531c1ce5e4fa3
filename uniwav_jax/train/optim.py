"""AdamW, the tri-stage schedule and which parameters decay (method section 6)."""

import types
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from uniwav_jax.config import Config
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.tasks.task import FOREVER
from uniwav_jax.types import PyTree

NONE: Mapping[str, float] = types.MappingProxyType({})


def tri_stage(config: Config) -> optax.Schedule:
    """Linear warm-up, constant rate, exponential decay to `final_scale` of the peak."""
    optim, steps = config.optim, config.train.steps
    warmup, hold = round(optim.warmup * steps), round(optim.hold * steps)
    decay = max(steps - warmup - hold, 1)
    return optax.join_schedules(
        [
            # (step + 1) / warmup: the first update is not wasted on a learning rate of 0.
            lambda step: optim.lr * (step + 1) / max(warmup, 1),
            optax.constant_schedule(optim.lr),
            optax.exponential_decay(optim.lr, decay, optim.final_scale),
        ],
        [warmup, warmup + hold],
    )


def decays(params: PyTree) -> PyTree:
    """True where weight decay applies: kernels. By name: in scanned stacks biases are 2-D too."""

    def is_kernel(path: tuple, _: jax.Array) -> bool:
        name = path_string(path).rsplit("/", 1)[-1]
        return "kernel" in name

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def freeze(updates_frozen: Mapping[str, float]) -> optax.GradientTransformation:
    """Set the gradients of some parts to zero in the first updates.

    Args:
        updates_frozen: {part: number of updates}.
    """

    def update(
        updates: PyTree, count: jax.Array, params: PyTree | None = None
    ) -> tuple[PyTree, jax.Array]:
        del params
        kept = {
            part: jax.tree.map(lambda u, n=n: jnp.where(count < n, 0.0, u), updates[part])
            for part, n in updates_frozen.items()
        }
        return {**updates, **kept}, count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def make(config: Config, freezes: Mapping[str, float] = NONE) -> optax.GradientTransformation:
    """Clip by global norm if `optim.clip` is not 0, then AdamW under the schedule.

    The gradient of a part that is frozen at first becomes zero before clipping and Adam, and its
    update becomes zero after AdamW, because weight decay would still move it. A part that is frozen
    for good has no moments.

    Args:
        config: the configuration.
        freezes: of the task (`Task.freezes`).
    """
    optim = config.optim
    at_first = {part: n for part, n in freezes.items() if n != FOREVER}
    for_good = {part for part, n in freezes.items() if n == FOREVER}
    ends = [freeze(at_first)] if at_first else []
    trained = optax.chain(
        *ends,
        optax.clip_by_global_norm(optim.clip) if optim.clip else optax.identity(),
        optax.adamw(
            tri_stage(config),
            b1=optim.beta1,
            b2=optim.beta2,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            mask=decays,
        ),
        *ends,
    )
    if not for_good:
        return trained
    return optax.partition(
        {"trained": trained, "frozen": optax.set_to_zero()},
        lambda params: {part: "frozen" if part in for_good else "trained" for part in params},
    )
