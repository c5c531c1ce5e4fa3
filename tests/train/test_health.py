import dataclasses

import pytest

from uniwav_jax.config import Config, HealthConfig, TrainConfig
from uniwav_jax.train.health import Health, UnhealthyRunError

WELL = {
    "loss_encoder": 2.5,
    "target_perplexity": 150.0,
    "target_variance_min": 0.1,
    "grad_norm": 2.0,
    "input_wait": 0.01,
    "skipped": 0,
    "skipped_in_a_row": 0,
}
CONFIG = dataclasses.replace(
    Config(), health=HealthConfig(grace_steps=100, patience=3), train=TrainConfig(max_skipped=5)
)


def test_a_healthy_run_is_left_alone():
    health = Health(CONFIG)
    assert all(health.check(step, WELL) == [] for step in range(0, 1000, 10))


@pytest.mark.parametrize(
    "ill, word",
    [
        ({"target_perplexity": 3.0}, "clusters collapse"),
        ({"loss_encoder": 0.2}, "teacher"),
        ({"target_variance_min": 1e-9}, "variance"),
        ({"grad_norm": 1e6}, "gradient norm"),
    ],
)
def test_alarms_warn_then_stop_with_advice(ill, word):
    health = Health(CONFIG)
    assert health.check(50, WELL | ill) == []  # grace
    for step in (100, 110):
        (warning,) = health.check(step, WELL | ill)
        assert word in warning and f"step {step}" in warning
    with pytest.raises(UnhealthyRunError, match=word) as error:
        health.check(120, WELL | ill)
    assert "\n" not in str(error.value) and "stopped at step 120" in str(error.value)


def test_recovery_resets_the_count():
    health = Health(CONFIG)
    for step in range(100, 200, 3):
        assert health.check(step, WELL | {"loss_encoder": 0.2})
        assert health.check(step + 1, WELL | {"loss_encoder": 0.2})
        assert not health.check(step + 2, WELL)


def test_waiting_for_data_only_warns():
    health = Health(CONFIG)
    for step in range(100, 200):
        (warning,) = health.check(step, WELL | {"input_wait": 0.9})
        assert "workers" in warning


def test_skipped_updates_are_reported_and_stop_the_run():
    health = Health(CONFIG)
    ill = WELL | {"skipped": 4, "skipped_in_a_row": 2}
    (warning,) = health.check(7, ill, skipped=[6, 7])
    assert "update 6, 7 was not finite" in warning and "config.seed=0" in warning
    with pytest.raises(UnhealthyRunError, match="NaN"):
        health.check(9, WELL | {"skipped": 7, "skipped_in_a_row": 5})


def test_disabled():
    config = dataclasses.replace(CONFIG, health=HealthConfig(enabled=False))
    assert Health(config).check(9999, WELL | {"loss_encoder": 0.0}) == []
