"""The decay schedules agree with their formulas, the update with NumPy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import DistillationConfig, default_config, from_dict
from uniwav_jax.models import teacher
from uniwav_jax.tasks import pretrain

TOTAL = 400_000  # DinoSR's run


def decay(step, total=TOTAL, **changes):
    config = dataclasses.replace(DistillationConfig(), **changes)
    return float(teacher.decay_at(jnp.int32(step), config, total))


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.999), (15_000, 0.99945), (30_000, 0.9999), (199_999, 0.9999), (200_000, 1.0)],
)
def test_dinosr_rises_linearly_then_stops_at_half(step, expected):
    assert decay(step) == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize("schedule", ["dinosr", "spidr"])
@pytest.mark.parametrize("total", [1000, 40_000, 600_000])
def test_horizons_are_shares_of_the_run(schedule, total):
    """At the same fraction of a run the horizon relative to the run's length is the same."""
    for share in (0.0, 0.03, 0.3):
        horizons = [
            1 / (1 - decay(round(share * steps), total=steps, teacher_schedule=schedule)) / steps
            for steps in (TOTAL, total)
        ]
        assert horizons[1] == pytest.approx(horizons[0], rel=0.02)


def test_the_teacher_of_a_short_run_learns():
    """The random initial weights must have no share in the teacher at the end of a run."""
    for total in (100, 1000, 50_000, 600_000):
        assert teacher.first_weights_left(DistillationConfig(), total) < 1e-6
    # A horizon of 500 updates until the stop at update 500, computed by hand.
    slow = DistillationConfig(teacher_horizon_start=1.0, teacher_horizon_end=1.0)
    assert teacher.first_weights_left(slow, 1000) == pytest.approx((1 - 1 / 500) ** 500, rel=1e-3)
    fixed = DistillationConfig(teacher_stop=0.0)
    assert teacher.first_weights_left(fixed, 1000) == 1.0


def test_a_run_warns_about_a_teacher_that_never_learns():
    def lines(**changes):
        config = default_config("tiny")
        config.train.steps = 1000
        config.distillation.update(changes)
        return pretrain.describe(from_dict(config), channels=80, frame_rate=50.0)

    assert any("final teacher" in line and "first weights" in line for line in lines())
    assert not any("warning" in line for line in lines())
    assert any("warning" in line for line in lines(teacher_horizon_end=10.0, teacher_rise=0.0))


def test_dinosr_stops_at_half_of_a_short_run():
    assert decay(49, total=100) < 1
    assert decay(50, total=100) == 1
    assert decay(50, total=100, teacher_stop=0.75) < 1


@pytest.mark.parametrize("step", [0, 1000, 20_000, 100_000])
def test_spidr_approaches_one(step):
    expected = 1 - 0.001 * math.exp(-step / 20_000)  # of 400 000 updates
    assert decay(step, teacher_schedule="spidr") == pytest.approx(expected, abs=1e-7)


def test_spidr_stops_when_the_decay_is_nearly_one():
    """In spidr the decay is 1 once 1 - decay is below 1e-7, after ln(10 000) x 20 000 updates."""
    assert decay(184_000, teacher_schedule="spidr") < 1
    assert decay(184_300, teacher_schedule="spidr") == 1


def trees():
    rng = np.random.default_rng(0)
    return [
        {
            name: {"kernel": rng.normal(size=(3, 2)).astype(np.float32)}
            for name in ("layers", "norm_input", "project", "positions")
        }
        for _ in range(2)
    ]


@pytest.mark.parametrize("path", ["shared", "averaged"])
def test_update(path):
    old, student = trees()
    config = DistillationConfig(teacher_input=path)
    new = teacher.update(old, student, jnp.float32(0.75), config)
    expected = jax.tree.map(lambda t, s: 0.75 * t + 0.25 * s, old, student)
    if path == "shared":
        expected |= {name: student[name] for name in ("norm_input", "project", "positions")}
    jax.tree.map(lambda n, e: np.testing.assert_allclose(n, e, rtol=1e-6), new, expected)


@pytest.mark.parametrize("path", ["shared", "averaged"])
def test_stopped_teacher_does_not_change(path):
    old, student = trees()
    config = DistillationConfig(teacher_input=path)
    new = teacher.update(old, student, jnp.float32(1.0), config)
    jax.tree.map(np.testing.assert_array_equal, new, old)


def test_the_teacher_is_a_copy_while_mfccs_are_the_targets():
    """The schedule then runs over the rest: 600 of 1000 updates like a run of 600."""
    config = DistillationConfig(mfcc_until=0.4)
    steps = np.arange(1000)
    decays = np.asarray(teacher.decay_at(steps, config, 1000))
    assert (decays[:400] == 0).all()
    rest = teacher.decay_at(np.arange(600), DistillationConfig(), 600)
    np.testing.assert_array_equal(decays[400:], rest)
