"""A ConfigDict or a plain dict becomes a `Config`, and mistakes in it are named."""

import dataclasses
import json

import pytest

from tests.config.changed import changed
from uniwav_jax.config import (
    SIZES,
    Config,
    Row,
    default_config,
    did_you_mean,
    from_dict,
    named_value,
    recognition_config,
)
from uniwav_jax.errors import UserError


@pytest.mark.parametrize("size", SIZES)
def test_presets_are_valid_and_survive_json(size):
    config = from_dict(default_config(size))
    assert from_dict(json.loads(config.to_json())) == config
    encoder, decoder, top_layers, _ = SIZES[size]
    part = config.model.encoder
    assert (part.layers, part.width, part.heads, part.ffn) == encoder
    part = config.model.decoder
    assert (part.layers, part.width, part.heads, part.ffn) == decoder
    assert (config.model.size, config.distillation.top_layers) == (size, top_layers)
    hash(config)  # a static argument of jit


def test_base_is_the_default_and_follows_dinosr():
    config = from_dict(default_config())
    log_mel = dataclasses.replace(config.features, kind="log_mel")
    assert config.features.kind == "codec"  # only presets with a size take the package's codec
    assert dataclasses.replace(config, features=log_mel) == Config()
    assert from_dict(default_config("tiny")).features.kind == "log_mel"
    encoder = config.model.encoder
    assert (encoder.dropout, encoder.attention_dropout, encoder.layer_drop) == (0.1, 0.1, 0.05)
    large = from_dict(default_config("large"))
    assert large.optim.lr == 2e-4
    encoder = large.model.encoder
    assert (encoder.dropout, encoder.attention_dropout, encoder.layer_drop) == (0, 0, 0)


def test_unknown_size_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'huge'.*tiny, small, base, large"):
        default_config("huge")


def test_unknown_key_suggests_the_near_one():
    with pytest.raises(UserError, match=r"config\.train\.stepz.*did you mean steps"):
        from_dict(changed("train.stepz", 3))
    with pytest.raises(UserError, match=r"config\.trian"):
        from_dict(changed("trian", {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.steps", "many"),
        ("train.steps", 10.5),
        ("train.steps", True),
        ("optim.lr", "high"),
        ("optim.lr", False),
        ("health.enabled", 1),
        ("data.manifest", 3),
        ("data.buckets", ["long"]),
        ("model.encoder", 12),
        ("model", None),
    ],
)
def test_wrong_type_names_the_field(field, value):
    with pytest.raises(UserError, match=rf"config\.{field} must be") as error:
        from_dict(changed(field, value))
    assert "\n" not in str(error.value)


def test_integers_are_fine_where_floats_are_meant():
    config = from_dict(changed("data.batch_seconds", 400))
    assert isinstance(config.data.batch_seconds, float)
    assert from_dict(changed("data.buckets", [4, 8])).data.buckets == (4.0, 8.0)


def test_a_config_dict_is_locked():
    with pytest.raises((AttributeError, KeyError), match="stepz"):
        default_config().train.stepz = 3


def test_the_known_names_follow_an_unknown_one():
    assert did_you_mean("stepz", ["steps", "seed"]) == "; did you mean steps?"
    assert did_you_mean("zzz", ["steps", "seed"]) == "; known here: seed, steps"


def test_a_row_is_the_recipe_of_its_size_only():
    row = Row(77, 3e-4, 5, 0.3, 0.2, 0.15, 640.0)
    values = recognition_config("tiny", {"tiny": row})
    values.init_from = "a pretrained run"
    config = from_dict(values)
    assert (config.task, config.train.steps, config.optim.lr) == ("asr", 77, 3e-4)
    assert (config.asr.freeze_steps, config.asr.time_mask, config.asr.channel_mask) == (5, 0.3, 0.2)
    assert (config.model.encoder.layer_drop, config.data.batch_seconds) == (0.15, 640.0)
    with pytest.raises(UserError, match="no recipe for size 'base' here; there are: tiny"):
        recognition_config("base", {"tiny": row})
    without = recognition_config("tiny")
    assert without.train.steps == Config().train.steps and without.optim.clip == 0


def test_a_task_outside_the_package_has_options_of_its_own():
    task = "tests.tasks.loudness:TASK"
    assert named_value(task).name == "loudness"
    config = from_dict(changed("task", task) | {"options": {"frozen": True}})
    assert config.options == named_value(task).Options(frozen=True)
    assert from_dict(changed("task", task)).options == named_value(task).Options()
    with pytest.raises(UserError, match=r"config\.options\.frosen.*did you mean frozen"):
        from_dict(changed("task", task) | {"options": {"frosen": True}})
    for name in ("tests.tasks.none:TASK", "tests.tasks.loudness:NONE"):
        with pytest.raises(UserError, match=f"config.task={name} cannot be imported"):
            from_dict(changed("task", name))
