"""AdamW, the tri-stage schedule and which parameters decay (method section 6)."""

import jax
import jax.numpy as jnp
import optax

from uniwav_jax.config import Config
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.types import PyTree


def tri_stage(config: Config) -> optax.Schedule:
    """Linear warm-up, hold, exponential decay to `final_scale` of the peak."""
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


def hold(steps: int, part: str) -> optax.GradientTransformation:
    """Nothing reaches `part` of the parameters in the first `steps` updates."""

    def update(
        updates: PyTree, count: jax.Array, params: PyTree | None = None
    ) -> tuple[PyTree, jax.Array]:
        del params
        held = jax.tree.map(lambda u: jnp.where(count < steps, 0.0, u), updates[part])
        return {**updates, part: held}, count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def make(config: Config) -> optax.GradientTransformation:
    """Clip by global norm if `optim.clip` is not 0, then AdamW under the schedule.

    Recognition holds the encoder at first.
    Held before, so that neither the norm nor Adam's averages see it, and after: decay is no
    gradient.
    """
    optim, asr = config.optim, config.asr
    held = (config.train.steps if asr.frozen else asr.freeze_steps) * (config.task == "asr")
    ends = [hold(held, "encoder")] if held else []
    return optax.chain(
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
