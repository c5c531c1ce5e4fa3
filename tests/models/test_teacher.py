"""Decay schedules against their formulas, the update against numpy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import DistillationConfig
from uniwav_jax.models import teacher

TOTAL = 600_000


def decay(step, total=TOTAL, **changes):
    config = dataclasses.replace(DistillationConfig(), **changes)
    return float(teacher.decay_at(jnp.int32(step), config, total))


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.999), (15_000, 0.99945), (30_000, 0.9999), (299_999, 0.9999), (300_000, 1.0)],
)
def test_dinosr_rises_linearly_then_stops_at_half(step, expected):
    assert decay(step) == pytest.approx(expected, abs=2e-7)


def test_dinosr_stops_at_half_of_a_run_shorter_than_the_rise():
    assert decay(49, total=100) < 1
    assert decay(50, total=100) == 1
    assert decay(50, total=100, teacher_stop=0.75) < 1


@pytest.mark.parametrize("step", [0, 1000, 20_000, 100_000])
def test_spidr_approaches_one(step):
    expected = 1 - 0.001 * math.exp(-step / 20_000)
    assert decay(step, teacher_schedule="spidr") == pytest.approx(expected, abs=1e-7)


def test_spidr_has_no_stop_at_half():
    assert decay(60_000, total=100_000, teacher_schedule="spidr") < 1


def trees():
    rng = np.random.default_rng(0)
    return [
        {
            name: {"kernel": rng.normal(size=(3, 2)).astype(np.float32)}
            for name in ("layers", "positions")
        }
        for _ in range(2)
    ]


@pytest.mark.parametrize("positions", ["copied", "averaged"])
def test_update(positions):
    old, student = trees()
    config = DistillationConfig(teacher_positions=positions)
    new = teacher.update(old, student, jnp.float32(0.75), config)
    expected = jax.tree.map(lambda t, s: 0.75 * t + 0.25 * s, old, student)
    if positions == "copied":
        expected["positions"] = student["positions"]
    jax.tree.map(lambda n, e: np.testing.assert_allclose(n, e, rtol=1e-6), new, expected)


@pytest.mark.parametrize("positions", ["copied", "averaged"])
def test_stopped_teacher_is_frozen_whole(positions):
    old, student = trees()
    config = DistillationConfig(teacher_positions=positions)
    new = teacher.update(old, student, jnp.float32(1.0), config)
    jax.tree.map(np.testing.assert_array_equal, new, old)
