"""A wrong configuration raises an error of one line that names the field."""

import dataclasses
import json

import pytest

from tests.conftest import load_tool
from uniwav_jax.config import SIZES, Config, default_config, from_dict
from uniwav_jax.errors import UserError


def changed(field, value):
    """The default configuration as a plain dict with one field changed."""
    values = json.loads(Config().to_json())
    *groups, name = field.split(".")
    part = values
    for group in groups:
        part = part[group]
    part[name] = value
    return values


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
    hash(config)  # because it is a static argument of jit


def test_base_is_the_default_and_follows_dinosr():
    config = from_dict(default_config())
    assert config == Config()
    encoder = config.model.encoder
    assert (encoder.dropout, encoder.attention_dropout, encoder.layer_drop) == (0.1, 0.1, 0.05)
    large = from_dict(default_config("large"))
    assert large.optim.lr == 2e-4
    encoder = large.model.encoder
    assert (encoder.dropout, encoder.attention_dropout, encoder.layer_drop) == (0, 0, 0)


def recipe(name, *arguments):
    return from_dict(load_tool(name, "configs").get_config(*arguments))


# (updates, peak learning rate, updates of the head only, time mask, channel mask, layer drop,
# seconds of audio per update) of examples/wav2vec/config/finetuning/{base,vox}_*.yaml in fairseq.
# Seconds are max_tokens x distributed_world_size x update_freq / 16 000.
FAIRSEQ = {
    ("asr_1h", "base"): (13_000, 5e-5, 10_000, 0.65, 0.25, 0.1, 3.2e6 * 2 * 4 / 16e3),
    ("asr_10h", "base"): (20_000, 5e-5, 10_000, 0.65, 0.5, 0.05, 3.2e6 * 2 * 4 / 16e3),
    ("asr_100h", "base"): (80_000, 3e-5, 0, 0.65, 0.5, 0.1, 3.2e6 * 2 * 4 / 16e3),
    ("asr_960h", "base"): (320_000, 1e-4, 0, 0.5, 0.1, 0.1, 3.2e6 * 8 / 16e3),
    ("asr_100h", "large"): (80_000, 3e-5, 10_000, 0.5, 0.5, 0.1, 1.28e6 * 4 * 5 / 16e3),
    ("asr_960h", "large"): (320_000, 3e-5, 10_000, 0.5, 0.25, 0.1, 1.28e6 * 24 / 16e3),
}


@pytest.mark.parametrize("row", FAIRSEQ, ids="_".join)
def test_recognition_settings_equal_those_of_fairseq(row):
    values = load_tool(row[0], "configs").get_config(row[1])
    values.init_from = "a pretrained run"
    config = from_dict(values)
    encoder, optim = config.model.encoder, config.optim
    assert FAIRSEQ[row] == (
        *(config.train.steps, optim.lr, config.asr.freeze_steps),
        *(config.asr.time_mask, config.asr.channel_mask),
        *(encoder.layer_drop, config.data.batch_seconds),
    )
    # These values are equal in all of these files, or fairseq's defaults if the files lack them.
    assert (encoder.dropout, encoder.attention_dropout, encoder.activation_dropout) == (0, 0, 0.1)
    assert (optim.clip, optim.weight_decay, optim.eps) == (0, 0, 1e-8)
    assert (optim.beta1, optim.beta2, optim.final_scale) == (0.9, 0.98, 0.05)
    assert (optim.warmup, optim.hold, optim.decay) == (0.1, 0.4, 0.5)
    assert (config.asr.time_length, config.asr.channel_length) == (10, 64)


def test_small_models_have_the_same_pretraining_settings():
    ours, own = recipe("pretrain_small_1gpu"), recipe("pretrain_own_data")
    assert (ours.distillation, ours.masking) == (own.distillation, own.masking)
    assert (ours.model.encoder, ours.optim) == (own.model.encoder, own.optim)
    assert ours.model.decoder == own.model.decoder and ours.train.steps == own.train.steps
    encoder = own.model.encoder
    assert (encoder.dropout, encoder.layer_drop) == (0.1, 0.05)


def test_configuration_is_locked_and_frozen():
    with pytest.raises((AttributeError, KeyError), match="stepz"):
        default_config().train.stepz = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_unknown_size_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'huge'.*tiny, small, base, large"):
        default_config("huge")


def test_unknown_key_suggests_a_similar_one():
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


def test_integers_are_accepted_for_floats():
    config = from_dict(changed("data.batch_seconds", 400))
    assert isinstance(config.data.batch_seconds, float)
    assert from_dict(changed("data.buckets", [4, 8])).data.buckets == (4.0, 8.0)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("task", "sing", "task"),
        ("task", "codec", "features.kind"),  # this task needs the waveform
        ("features.kind", "opus", "features.kind"),
        ("features.kind", "waveform", "features.kind"),
        ("features.kind", "codec", "features.codec"),
        ("model.encoder.norm", "both", "model.encoder.norm"),
        ("model.decoder.positions", "none", "model.decoder.positions"),
        ("model.remat", "some", "model.remat"),
        ("model.compute_dtype", "float16", "model.compute_dtype"),
        ("distillation.prediction", "hubert", "distillation.prediction"),
        ("distillation.teacher_schedule", "cosine", "distillation.teacher_schedule"),
        ("flow.solver", "heun", "flow.solver"),
        ("model.encoder.heads", 7, "model.encoder.width"),
        ("model.decoder.heads", 7, "model.decoder.width"),
        ("model.encoder.layers", 0, "model.encoder.layers"),
        ("model.encoder.position_groups", 7, "model.encoder.position_groups"),
        ("model.encoder.position_kernel", 18, "model.encoder.position_kernel"),
        ("model.decoder.position_kernel", 30, "model.decoder.position_kernel"),
        ("model.decoder.layers", 5, "model.decoder.layers"),
        ("distillation.top_layers", 0, "distillation.top_layers"),
        ("distillation.top_layers", 13, "distillation.top_layers"),
        ("masking.probability", 0.0, "masking.probability"),
        ("masking.probability", 1.5, "masking.probability"),
        ("masking.length", 0, "masking.length"),
        ("data.buckets", [], "data.buckets"),
        ("data.buckets", [8.0, 4.0], "data.buckets"),
        ("data.buckets", [4.0, 4.0], "data.buckets"),
        ("data.min_seconds", 30.0, "data.min_seconds"),
        ("data.batch_seconds", 100.0, "data.batch_seconds"),
        ("data.row_multiple", 0, "data.row_multiple"),
        ("train.accumulate", 3, "data.row_multiple"),
        ("train.steps", 0, "train.steps"),
        ("train.log_every", 0, "train.log_every"),
        ("checkpoint.every", 0, "checkpoint.every"),
        ("checkpoint.keep", 0, "checkpoint.keep"),
        ("optim.decay", 0.6, "optim.warmup"),
        ("optim.clip", -1.0, "optim.clip"),
        ("model.encoder.activation_dropout", 1.0, "model.encoder.activation_dropout"),
        ("mesh.fsdp", -1, "mesh.data"),
        ("mesh.tensor", 0, "mesh.data"),
    ],
)
def test_impossible_value_names_the_field(field, value, named):
    with pytest.raises(UserError) as error:
        from_dict(changed(field, value))
    assert str(error.value).startswith(f"config.{named}")
    assert "\n" not in str(error.value)
