"""Mistakes in a sweep are found before it starts."""

import dataclasses

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep_plan
from uniwav_jax.evaluation.sweep_plan import Plan

JOINT, ALONE, FROZEN = (f"ablations/{name}" for name in ("joint", "no_decoder", "frozen"))


@pytest.fixture
def plan(tmp_path):
    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").touch()
    speech = (str(tmp_path / "train.tsv"), str(tmp_path / "eval.tsv"))
    return Plan(tmp_path / "out", (JOINT, ALONE), (0, 1), *speech)


def test_configs_get_the_settings(plan):
    settings = {"train.steps": "7", "data.buckets": "(2.0,)", "flow.stratified": "true"}
    settings |= {"model.compute_dtype": "bfloat16", "optim.lr": "1"}
    found = sweep_plan.check(dataclasses.replace(plan, settings=settings))
    assert list(found) == [JOINT, ALONE]
    config = found[ALONE]
    assert (config.train.steps, config.data.buckets, config.optim.lr) == (7, (2.0,), 1.0)
    assert config.flow.stratified and config.model.compute_dtype == "bfloat16"
    assert config.data.manifest == plan.manifest and config.flow.weight == 0


def test_configs_follow_those_that_they_start_from(plan):
    configs = (FROZEN, JOINT, ALONE)
    plan = dataclasses.replace(plan, configs=configs, starts={FROZEN: ALONE})
    assert sweep_plan.check(plan)[FROZEN].flow.encoder_frozen
    assert sweep_plan.ordered(plan) == [JOINT, ALONE, FROZEN]
    plan = dataclasses.replace(plan, starts={FROZEN: ALONE, ALONE: FROZEN})
    with pytest.raises(UserError, match=r"--init_from: .* start from one another"):
        sweep_plan.check(plan)


MISTAKES = [
    ({"configs": ()}, "name the configs to compare"),
    ({"configs": ("ablations/jiont",)}, "no installed config of that name"),
    ({"configs": (JOINT, ALONE, JOINT)}, "ablations/joint is named twice"),
    ({"configs": ("ablations/features:a/b", "ablations/features:a_b")}, "both write to .*; rename"),
    ({"configs": ("ablations/depth:4",)}, "ablations/depth:4: its argument does not fit"),
    ({"configs": ("ablations/joint:4",)}, "ablations/joint:4: its argument does not fit"),
    ({"configs": ("ablations/depth:4x3",)}, r"depth:4x3: config\.model\.decoder\.layers must be"),
    ({"configs": (FROZEN,)}, r"init_from; use --init_from CONFIG=OTHER"),
    ({"seeds": ()}, "--seeds must be numbers"),
    ({"seeds": (1, 2, 1)}, "--seeds names a seed twice: 1,2,1"),
    ({"settings": {"seed": "1"}}, r"sets --config\.seed itself; use --seeds"),
    ({"settings": {"data.manifest": "x"}}, r"sets --config\.data\.manifest itself; use --manifest"),
    ({"settings": {"init_from": "x"}}, r"sets --config\.init_from itself; use --init_from"),
    ({"settings": {"train.stepps": "1"}}, r"config\.train\.stepps'; did you mean steps"),
    ({"settings": {"trian.steps.x": "1"}}, r"unknown config key 'config\.trian\.steps\.x'"),
    ({"settings": {"train.steps": "many"}}, r"--config\.train\.steps must be int; got 'many'"),
    ({"settings": {"flow.context": "maybe"}}, r"--config\.flow\.context must be bool"),
    ({"settings": {"train.steps": "0"}}, r"joint: config\.train\.steps must be positive"),
    ({"starts": {ALONE: FROZEN}}, "frozen is not one of the configs"),
    ({"starts": {ALONE: ALONE}}, "cannot start from itself"),
    ({"units": "m.tsv"}, "give both --units and --alignments"),
    ({"asr_eval": "m.tsv"}, "give both --asr and --asr_eval"),
    ({"speech": "m.tsv"}, "give both --speech and --speech_eval"),
    ({"manifest": "nowhere.tsv"}, r"nowhere\.tsv does not exist"),
    ({"nice": 20}, "--nice must be from 0 to 19; got 20"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_are_one_line(change, message, plan):
    with pytest.raises(UserError, match=message) as error:
        sweep_plan.check(dataclasses.replace(plan, **change))
    assert "\n" not in str(error.value)


def test_judges_must_be_able_to_judge(plan):
    asr = dataclasses.replace(plan, asr=plan.manifest, asr_eval=plan.eval_manifest)
    sweep_plan.check(asr)
    with pytest.raises(UserError, match="ablations/joint trains no model that can transcribe"):
        sweep_plan.check(dataclasses.replace(asr, asr_config=JOINT))
    with pytest.raises(UserError, match="no installed config"):
        sweep_plan.check(dataclasses.replace(asr, asr_config="none"))
