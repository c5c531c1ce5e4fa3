"""AdamW, the tri-stage schedule and the choice of parameters that decay (method section 6)."""

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
    """The learning rate: linear warm-up, constant, exponential decay to `final_scale` of the peak.

    Returns:
        A function from the step (int32 []) to the learning rate (float32 []).
    """
    optim, steps = config.optim, config.train.steps
    warmup, hold = round(optim.warmup * steps), round(optim.hold * steps)
    decay = max(steps - warmup - hold, 1)
    return optax.join_schedules(
        [
            # It starts at (step + 1) / warmup, because a first learning rate of 0 would waste an
            # update.
            lambda step: optim.lr * (step + 1) / max(warmup, 1),
            optax.constant_schedule(optim.lr),
            optax.exponential_decay(optim.lr, decay, optim.final_scale),
        ],
        [warmup, warmup + hold],
    )


def decays(params: PyTree) -> PyTree:
    """Tree of bools in the structure of `params`, True where weight decay applies: on kernels.

    Kernels are found by name, because in scanned stacks of layers biases have two axes too.
    """

    def is_kernel(path: tuple, _: jax.Array) -> bool:
        name = path_string(path).rsplit("/", 1)[-1]
        return "kernel" in name

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def freeze(updates_frozen: Mapping[str, float]) -> optax.GradientTransformation:
    """Set the gradients of some parts to zero in the first updates.

    The state is the number of updates so far, int32 [].

    Args:
        updates_frozen: {part of params: number of updates}.
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
    """The optimizer: clipping by global norm if `optim.clip` is not 0, then scheduled AdamW.

    While a part is frozen, its gradient becomes zero before clipping and Adam, and its update
    becomes zero after AdamW, because weight decay would still move it. A part that is frozen for
    the whole run has no moments.

    Args:
        config: the configuration.
        freezes: {part of params: number of frozen updates, or `FOREVER`}, from `Task.freezes`.
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
