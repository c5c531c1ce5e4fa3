"""Configs are found by name or path, and the rows of recognition are those of their source."""

import pytest

from uniwav_jax.config import from_dict, recipes
from uniwav_jax.errors import UserError


def test_a_name_is_an_installed_config():
    path = recipes.folder() / "demo.py"
    assert recipes.find("demo") == str(path)
    assert recipes.find("asr_demo:scratch") == f"{recipes.folder() / 'asr_demo'}.py:scratch"
    assert "demo" in recipes.names() and "pretrain_base" in recipes.names()
    assert "ten minutes" in recipes.summary("demo")


def test_a_name_may_have_a_folder():
    path = recipes.folder() / "ablations" / "joint.py"
    assert recipes.find("ablations/joint") == str(path)
    assert recipes.find("ablations/depth:4x2") == f"{path.with_name('depth.py')}:4x2"
    assert "ablations/joint" in recipes.names() and "joint" not in recipes.names()
    assert recipes.names()[-1].startswith("ablations/") and recipes.summary("ablations/joint")


ABLATIONS = {
    "joint": (4, 2, 1.0, "masked", "codec"),
    "no_decoder": (4, 2, 0.0, "masked", "codec"),
    "frozen": (4, 2, 1.0, "masked", "codec"),
    "weight:0.25": (4, 2, 0.25, "masked", "codec"),
    "all_frames": (4, 2, 1.0, "all", "codec"),
    "depth:2x4": (2, 4, 1.0, "masked", "codec"),
    "depth:8x0": (8, 2, 0.0, "masked", "codec"),
    "features:log_mel": (4, 2, 1.0, "masked", "log_mel"),
    "features:codecs/lyra": (4, 2, 1.0, "masked", "codec"),
    "tokenizer:3": (4, 2, 1.0, "masked", "codec"),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_change_one_thing_each(name):
    values = recipes.load(f"ablations/{name}")
    values.init_from = "a pretrained run"
    config, joint = from_dict(values), from_dict(recipes.load("ablations/joint"))
    model, flow = config.model, config.flow
    found = (model.encoder.layers, model.decoder.layers, flow.weight, flow.frames)
    assert (*found, config.features.kind) == ABLATIONS[name]
    assert flow.encoder_frozen == (name == "frozen")
    assert config.features.codec == ("codecs/lyra" if "lyra" in name else "codec")
    assert (config.task, config.tokenizer.layer) == (
        ("tokenizer", 3) if "tokenizer" in name else ("pretrain", -1)
    )
    same = ("data", "optim", "train", "masking", "evaluate", "checkpoint")
    assert all(getattr(config, group) == getattr(joint, group) for group in same)


@pytest.mark.parametrize(
    "given", ["dmeo", "/none.py", "configs/none.py", "", "demo.py:x", "ablations/none"]
)
def test_an_unknown_one_lists_the_others(given):
    with pytest.raises(UserError, match=r"no such file.*asr_demo, .*demo"):
        recipes.find(given)


def test_arguments_of_a_command():
    demo = recipes.find("demo")
    assert recipes.with_paths(["x", "--config=demo", "--config.train.steps=3"]) == [
        "x",
        f"--config={demo}",
        "--config.train.steps=3",
    ]
    assert recipes.with_paths(["x", "--config", "demo"]) == ["x", "--config", demo]
    assert recipes.with_paths(["x", "--config"]) == ["x", "--config"]


def test_argument_reaches_get_config():
    config = recipes.load("asr_demo:scratch")
    assert from_dict(config).asr.freeze_steps == 0
    assert recipes.load("asr_demo").asr.freeze_steps == 50


# (updates, peak learning rate, updates of the head alone, time mask, channel mask, layer drop,
# seconds per update) of examples/wav2vec/config/finetuning/{base,vox}_*.yaml in fairseq; seconds:
# max_tokens x distributed_world_size x update_freq / 16 000.
FAIRSEQ = {
    ("asr_1h", "base"): (13_000, 5e-5, 10_000, 0.65, 0.25, 0.1, 3.2e6 * 2 * 4 / 16e3),
    ("asr_10h", "base"): (20_000, 5e-5, 10_000, 0.65, 0.5, 0.05, 3.2e6 * 2 * 4 / 16e3),
    ("asr_100h", "base"): (80_000, 3e-5, 0, 0.65, 0.5, 0.1, 3.2e6 * 2 * 4 / 16e3),
    ("asr_960h", "base"): (320_000, 1e-4, 0, 0.5, 0.1, 0.1, 3.2e6 * 8 / 16e3),
    ("asr_100h", "large"): (80_000, 3e-5, 10_000, 0.5, 0.5, 0.1, 1.28e6 * 4 * 5 / 16e3),
    ("asr_960h", "large"): (320_000, 3e-5, 10_000, 0.5, 0.25, 0.1, 1.28e6 * 24 / 16e3),
}


@pytest.mark.parametrize("row", FAIRSEQ, ids="_".join)
def test_recognition_rows_are_fairseqs(row):
    values = recipes.load(":".join(row))
    values.init_from = "a pretrained run"
    config = from_dict(values)
    encoder, optim = config.model.encoder, config.optim
    assert FAIRSEQ[row] == (
        *(config.train.steps, optim.lr, config.asr.freeze_steps),
        *(config.asr.time_mask, config.asr.channel_mask),
        *(encoder.layer_drop, config.data.batch_seconds),
    )
    # What all of these files share, or fairseq's default where they are silent.
    assert (encoder.dropout, encoder.attention_dropout, encoder.activation_dropout) == (0, 0, 0.1)
    assert (optim.clip, optim.weight_decay, optim.eps) == (0, 0, 1e-8)
    assert (optim.beta1, optim.beta2, optim.final_scale) == (0.9, 0.98, 0.05)
    assert (optim.warmup, optim.hold, optim.decay) == (0.1, 0.4, 0.5)
    assert (config.asr.time_length, config.asr.channel_length) == (10, 64)


def test_small_models_are_pretrained_alike():
    names = ("pretrain_small_1gpu", "pretrain_own_data")
    ours, own = (from_dict(recipes.load(name)) for name in names)
    assert (ours.distillation, ours.masking) == (own.distillation, own.masking)
    assert (ours.model.encoder, ours.optim) == (own.model.encoder, own.optim)
    assert ours.model.decoder == own.model.decoder and ours.train.steps == own.train.steps
    encoder = own.model.encoder
    assert (encoder.dropout, encoder.layer_drop) == (0.1, 0.05)
