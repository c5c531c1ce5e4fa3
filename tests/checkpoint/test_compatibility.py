"""Checks which checkpoints a run may continue."""

import json

import pytest

from tests.train.small import ASR, CODEC, MEANINGS, configuration
from uniwav_jax.checkpoint import compatibility
from uniwav_jax.config import from_dict
from uniwav_jax.errors import UserError


def resume(then, now):
    """The error if a run of `now` may not continue a checkpoint of `then`, otherwise None."""
    meta = {"schema": compatibility.SCHEMA, "config": json.loads(configuration(then).to_json())}
    compatibility.check_resume(meta, configuration(now), "runs/x/checkpoints/7")


@pytest.mark.parametrize("field", MEANINGS)
def test_resuming_needs_the_same_meaning(field):
    with pytest.raises(UserError, match=rf"another config\.{field}: .* --config\.init_from"):
        resume({}, {field: MEANINGS[field]})


@pytest.mark.parametrize(
    ("task", "then", "now", "at_fault"),
    [
        (ASR, {}, {"text.symbols": tuple("cba|")}, "text.symbols"),
        (ASR, {}, {"asr.layers": "mix"}, "asr.layers"),
        ({**ASR, "init_from": "x"}, {"asr.freeze_steps": 5}, {"asr.freeze_steps": 6}, None),
        (ASR, {}, {"model.decoder.positions": "alibi"}, None),  # this task has no decoder
        (ASR, {}, {"model.encoder.activation_dropout": 0.1}, None),
        (CODEC, {}, {"codec.discriminator_filters": 8}, "codec.discriminator_filters"),
        (CODEC, {}, {"model.encoder.norm": "post"}, None),
    ],
)
def test_resuming_checks_the_parts_of_the_task(task, then, now, at_fault, capsys):
    if at_fault is None:
        resume({**task, **then}, {**task, **now})
        assert "differs from an uninterrupted one" in capsys.readouterr().out
        return
    with pytest.raises(UserError, match=rf"another config\.{at_fault}: "):
        resume({**task, **then}, {**task, **now})


@pytest.mark.parametrize(
    ("then", "now", "part"),
    [
        ({"asr.frozen": True}, {}, r"encoder for the whole run; now none.*config\.asr\.frozen"),
        ({"asr.freeze_steps": 5}, {}, r"encoder at first; now none.*config\.asr\.freeze_steps"),
        ({"asr.freeze_steps": 5}, {"asr.frozen": True}, r"at first; now encoder for the whole run"),
    ],
)
def test_resuming_needs_the_same_optimizer(then, now, part):
    """The optimizer's arrays depend on the parts that are frozen at first or for the whole run."""
    task = {**ASR, "init_from": "x"}
    with pytest.raises(UserError, match=part):
        resume({**task, **then}, {**task, **now})


def test_resuming_from_another_version(capsys):
    meta = {"schema": 1, "config": json.loads(configuration().to_json())}
    with pytest.raises(UserError, match=r"the decoder has changed .*init_parts=encoder,heads$"):
        compatibility.check_resume(meta, configuration(), "runs/x/checkpoints/7")
    meta["config"] = json.loads(configuration(ASR).to_json())
    compatibility.check_resume(meta, configuration(ASR), "runs/x/checkpoints/7")
    assert capsys.readouterr().out == ""


def test_fields_that_a_schema_removed_are_left_out():
    """An older checkpoint's configuration has fields that this version does not have."""
    config = json.loads(configuration().to_json())
    config["distillation"] |= {"teacher_positions": "averaged", "teacher_decay_start": 0.9999}
    current = compatibility.current({"schema": 1, "config": config, "step": 3}, "runs/x")
    assert from_dict(current["config"]).distillation.teacher_input == "shared"
    assert current["step"] == 3 and "teacher_positions" in config["distillation"]
    with pytest.raises(UserError, match=r"unknown config key .*teacher_"):
        now = {"schema": compatibility.SCHEMA, "config": config}
        from_dict(compatibility.current(now, "runs/x")["config"])
