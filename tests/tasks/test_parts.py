"""The parts that tasks name exist, in the arrays of a run and in its configuration."""

import dataclasses
import functools
import operator

import jax
import pytest

from tests.tasks import loudness
from tests.tasks.test_empty_rows import coding, networks
from uniwav_jax.checkpoint import store
from uniwav_jax.tasks import asr, codec, parts, pretrain, tts

PRETRAINING = networks("pretrain")
WITH_MFCC = dataclasses.replace(PRETRAINING.distillation, mfcc_weight=1.0)
TASKS = {
    "pretrain": (
        pretrain.TASK,
        dataclasses.replace(PRETRAINING, distillation=WITH_MFCC),
        20,
    ),
    "tts": (tts.TASK, networks("tts"), 20),
    "asr": (asr.TASK, networks("asr", symbols=("a", "b")), 20),
    "codec": (
        codec.TASK,
        coding(bottleneck="rvq", structure={"codebooks": 2, "codewords": 8}),
        1,
    ),
    "loudness": (loudness.TASK, networks("pretrain"), 20),
}


@functools.cache
def arrays_of(name):
    """Shapes of {"params", "ema", "state"} of a fresh run."""
    task, config, channels = TASKS[name]
    params, state = jax.eval_shape(lambda: task.init(jax.random.key(0), config, channels))
    ema = {part: params[part] for part in task.averages(config)}
    return {"params": params, "ema": ema, "state": state}


@pytest.mark.parametrize("name", TASKS)
def test_all_parameters_are_in_parts_and_parts_exist(name):
    task, _, _ = TASKS[name]
    found = arrays_of(name)
    places = [place for part in task.parts.values() for place in part.arrays]
    assert len(places) == len(set(places))
    missing = {place for place in places if not store.get(found, place)}
    assert missing == (set() if name in ("pretrain", "codec") else {"state/teacher"})
    in_parts = {place.removeprefix("params/") for place in places if place.startswith("params/")}
    assert in_parts == found["params"].keys()


@pytest.mark.parametrize("name", TASKS)
def test_what_a_part_refers_to_exists(name):
    task, config, _ = TASKS[name]
    places = {place for part in task.parts.values() for place in part.arrays}
    for part in task.parts.values():
        for field in part.fields:
            operator.attrgetter(field)(config)
        assert set(part.needs) <= places
        for place in part.columns.arrays if part.columns else ():
            assert store.get(arrays_of(name), place) and place.startswith(part.arrays)


def test_the_encoder_is_one_part_for_every_task_that_has_one():
    tasks = [task for task, _, _ in TASKS.values() if "encoder" in task.parts]
    assert len(tasks) == 4 and all(task.parts["encoder"] is parts.ENCODER for task in tasks)
