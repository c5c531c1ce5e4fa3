"""The teacher: a float32 running average of the student's encoder (method section 4)."""

import jax
import jax.numpy as jnp

from uniwav_jax.config import DistillationConfig
from uniwav_jax.types import PyTree


def decay_at(step: jax.Array, config: DistillationConfig, total_steps: int) -> jax.Array:
    """Decay used by update number `step` (from 0); 1 means that the teacher stands still.

    "dinosr": linear from start to end over `teacher_decay_steps`, 1 after the share `teacher_stop`
    of the run. "spidr": 1 - (1 - start) exp(-step / 20000), never 1.
    """
    step = step.astype(jnp.float32)
    start, end = config.teacher_decay_start, config.teacher_decay_end
    if config.teacher_schedule == "spidr":
        return 1.0 - (1.0 - start) * jnp.exp(-step / 20000.0)
    progress = jnp.minimum(step / max(config.teacher_decay_steps, 1), 1.0)
    decay = start + (end - start) * progress
    return jnp.where(step >= config.teacher_stop * total_steps, 1.0, decay)


def update(
    teacher: PyTree, student: PyTree, decay: jax.Array, config: DistillationConfig
) -> PyTree:
    """Teacher <- decay teacher + (1 - decay) student, convolutional positions as configured.

    "copied" positions are the student's, until the teacher is frozen whole at decay 1; "averaged"
    positions follow like all the rest.
    """
    averaged = jax.tree.map(lambda t, s: decay * t + (1.0 - decay) * s, teacher, student)
    if config.teacher_positions == "averaged":
        return averaged
    positions = jax.tree.map(
        lambda t, s: jnp.where(decay < 1.0, s, t), teacher["positions"], student["positions"]
    )
    return {**averaged, "positions": positions}
