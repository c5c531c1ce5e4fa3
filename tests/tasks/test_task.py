"""What a task does where its definition says nothing."""

import dataclasses
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import loudness
from uniwav_jax import tasks
from uniwav_jax.config import Config
from uniwav_jax.tasks.task import Part, Task
from uniwav_jax.types import Example, Variables

PLAIN = Task("plain", init=None, loss=None, metrics=None, mean=None)


def test_a_loss_is_divided_by_the_rows_that_are_not_empty():
    example = Example(jnp.zeros((4, 5, 2)), jnp.array([5, 0, 1, 0]))
    weight = PLAIN.weight(example, {})
    assert weight == 2.0 and weight.dtype == np.float32
    empty = example.replace(frames_B=jnp.zeros(4, int))
    assert PLAIN.weight(empty, {}) == 1.0  # a loss of 0 / 0 would be no number


def test_nothing_is_drawn_frozen_averaged_scored_or_described():
    config = Config()
    assert PLAIN.draw(jax.random.key(0), None, config) == {}
    assert PLAIN.freezes(config) == PLAIN.averages(config) == PLAIN.export_documents(config) == {}
    assert PLAIN.describe(config, channels=80, frame_rate=50.0) == []
    scores = PLAIN.score({}, [], config)
    assert scores.metrics == {} and not scores.table
    assert not (PLAIN.samples or PLAIN.logits or PLAIN.exports or PLAIN.flops or PLAIN.Options)


def test_the_state_stays():
    variables = Variables({}, {}, {"books": jnp.ones(3)}, {})
    assert PLAIN.update(variables, {}, jnp.asarray(0), Config()) is variables.state
    key = jax.random.key(0)
    assert PLAIN.warm_start(key, variables, None, Config(), None) is variables.state


def test_averages_and_copies_follow_what_they_are_made_of():
    task = dataclasses.replace(
        PLAIN,
        averages=lambda config: {"decoder": config.flow.ema_decay},
        copies={"state/teacher": "params/encoder"},
    )
    assert task.follows(Config()) == {
        "state/teacher": "params/encoder",
        "ema/decoder": "params/decoder",
    }
    assert PLAIN.follows(Config()) == {}


def test_a_task_is_one_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.name = "other"
    assert Part(("params/a",), ("model",)) == Part(("params/a",), ("model",), (), None)


def test_tasks_are_found_by_name_and_by_module():
    assert tasks.get("asr") is tasks.asr.TASK
    assert tasks.get("tests.tasks.loudness:TASK") is loudness.TASK
    assert {task.name for task in tasks.TASKS.values()} == tasks.TASKS.keys()


def test_alarms_name_limits_and_fill_in_what_they_say():
    limits = {field.name for field in dataclasses.fields(Config().health)}
    alarms = [alarm for task in tasks.TASKS.values() for alarm in task.alarms]
    assert len(alarms) > 5
    for alarm in alarms:
        assert alarm.field in limits, alarm
        asked = {name for _, name, _, _ in string.Formatter().parse(alarm.text) if name}
        assert asked <= {"value", "limit"}, alarm
        assert alarm.text.format(value=0.5, limit=0.25)
        assert np.isfinite(alarm.unit(Config())) and isinstance(alarm.applies(Config()), bool)
