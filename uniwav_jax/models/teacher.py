"""The teacher: a float32 running average of the student's encoder.

The horizon of a running average with decay d is 1 / (1 - d) updates. The right horizon depends on
the length of the run: with DinoSR's decays, 0.999 to 0.9999 over 30 000 of 400 000 updates, the
teacher of a run of a thousand updates would hardly change from its random start. The configuration
therefore sets horizons as shares of the updates until the teacher stops changing; the defaults
agree with DinoSR's.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import DistillationConfig
from uniwav_jax.types import PyTree

# The modules before the layers; with teacher_input="shared" they are copies of the student's.
INPUT_PATH = ("norm_input", "project", "positions")


def decay_at(
    step: jax.Array | np.ndarray, config: DistillationConfig, total_steps: int
) -> jax.Array:
    """Decay of an update, float32 in the shape of `step`; with decay 1 the teacher does not change.

    "dinosr": the decay rises linearly from that of the first horizon to that of the last one during
    the share `teacher_rise` of the updates until the stop, and is 1 after the share `teacher_stop`
    of the run. "spidr": the decay is 1 - exp(-step / tau) / h, where SpidR's first horizon
    h = 1000 and tau = 20 000 of 400 000 updates are shares of the run as well; once 1 - decay is
    below 1e-7 (after 46 % of a run of that length), the decay is 1.

    While clusters of MFCCs are the only targets (`mfcc_until`) the decay is 0, so that the teacher
    is a copy of the student; the schedule fills the rest of the run.

    Args:
        step: number of the update, from 0.
        config: configuration of self-distillation.
        total_steps: number of updates of the run.
    """
    step = jnp.asarray(step, jnp.float32)
    if config.mfcc_until > 0:
        first = config.mfcc_until * total_steps
        rest = dataclasses.replace(config, mfcc_until=0.0)
        decay = decay_at(jnp.maximum(step - first, 0.0), rest, max(total_steps - first, 1.0))
        return jnp.where(step < first, 0.0, decay)
    if config.teacher_schedule == "spidr":
        rest = jnp.exp(-step / (total_steps / 20)) / max(total_steps / 400, 1.0)
        return jnp.where(rest > 1e-7, 1.0 - rest, 1.0)
    until_stop = config.teacher_stop * total_steps
    start, end = (
        # A horizon of one update or less makes the teacher a copy of the student.
        1.0 - 1.0 / max(share * until_stop, 1.0)
        for share in (config.teacher_horizon_start, config.teacher_horizon_end)
    )
    progress = jnp.minimum(step / max(config.teacher_rise * until_stop, 1.0), 1.0)
    decay = start + (end - start) * progress
    return jnp.where(step >= until_stop, 1.0, decay)


def first_weights_left(config: DistillationConfig, total_steps: int) -> float:
    """Weight of the teacher's initial parameters in its parameters after the run, 0 to 1."""
    decays = np.asarray(decay_at(np.arange(total_steps), config, total_steps), np.float64)
    return float(np.prod(decays))


def update(
    teacher: PyTree, student: PyTree, decay: jax.Array, config: DistillationConfig
) -> PyTree:
    """Update the teacher: decay * teacher + (1 - decay) * student, input path as configured.

    Args:
        teacher: encoder parameters, float32.
        student: encoder parameters of the same shapes.
        decay: float32 []; 1 leaves the whole teacher unchanged.
        config: with teacher_input="shared" the teacher copies the student's `INPUT_PATH`, as in
            DinoSR and SpidR; with "averaged" that part is averaged like the others.
    """
    averaged = jax.tree.map(lambda t, s: decay * t + (1.0 - decay) * s, teacher, student)
    if config.teacher_input == "averaged":
        return averaged
    shared = {
        name: jax.tree.map(lambda t, s: jnp.where(decay < 1.0, s, t), teacher[name], student[name])
        for name in INPUT_PATH
    }
    return {**averaged, **shared}
