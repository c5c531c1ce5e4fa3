"""Update, evaluation and start use the same microbatches: equal numbers with less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.test_asr import SMALL as SMALL_RECOGNISER
from tests.tasks.test_pretrain import SMALL
from uniwav_jax import features as features_lib
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.features.batch import surface
from uniwav_jax.models import masking, quantizer, uniwav
from uniwav_jax.parallel.mesh import make_mesh, to_global
from uniwav_jax.tasks import asr, pretrain
from uniwav_jax.train import step as step_lib

ROWS, FRAMES = 16, 40
PRETRAIN = {**SMALL, "distillation.codebook_init": "frames"}
RECOGNISER = {**SMALL_RECOGNISER, "data.row_multiple": ROWS}


pytestmark = pytest.mark.usefixtures("fast_compilation")


class Steps:
    """State, batch of random features and compiled functions of `task` on `devices` devices."""

    def __init__(self, task, settings, accumulate, devices=1, rows=ROWS):
        values = default_config("tiny")
        changes = {"train.accumulate": accumulate, "mesh.data": devices}
        values.update_from_flattened_dict({**settings, **changes})
        config = from_dict(values)
        features = features_lib.build(config.features)
        mesh = make_mesh(config.mesh, jax.devices()[:devices])
        random = np.random.default_rng(0)
        samples = np.linspace(FRAMES // 2, FRAMES, rows).astype(np.int32) * features.hop
        latents = random.normal(size=(rows, FRAMES, features.channels)).astype(np.float16)
        local = {"latents": latents, "samples": samples, "bad": np.zeros(rows, bool)}
        local["labels"] = {"tokens": random.integers(1, 9, (rows, 4))}
        if task is pretrain.TASK:
            del local["labels"]
        statistics = {"mean": np.zeros(features.channels), "std": np.ones(features.channels)}
        with jax.set_mesh(mesh):
            state, shardings = step_lib.init_state(task, config, features, statistics, mesh)
            self.state, self.batch = state, to_global(local, mesh, rows)
            self.update = step_lib.make_train_step(task, config, features, mesh, shardings)
            self.evaluate = step_lib.make_eval_step(task, config, features, mesh)
            self.start = step_lib.make_start_step(task, config, features, shardings)
        self.config, self.features, self.mesh = config, features, mesh


@pytest.mark.parametrize("parts", [1, 2, 6])
def test_sums_and_outputs_of_microbatches(parts):
    """Outputs are in the order of the rows, and every row is counted once."""
    rows = {"x": jnp.arange(24.0).reshape(12, 2), "n": jnp.arange(12)}

    def function(rows, key):
        assert len(rows["n"]) == 12 // parts and key is None
        return {"sum": rows["x"].sum(0)}, {"twice": 2 * rows["x"], "n": rows["n"]}

    sums, outputs = step_lib.over_microbatches(function, rows, parts)
    np.testing.assert_array_equal(sums["sum"], rows["x"].sum(0))
    np.testing.assert_array_equal(outputs["twice"], 2 * rows["x"])
    np.testing.assert_array_equal(outputs["n"], rows["n"])


def test_each_microbatch_has_its_own_key():
    _, drawn = step_lib.over_microbatches(
        lambda rows, key: ({}, rows * 0 + jax.random.uniform(key)),
        jnp.ones(8),
        4,
        jax.random.key(0),
    )
    assert len(set(np.asarray(drawn).tolist())) == 4


def evaluated(name, accumulate, devices):
    """(sums, outputs) of an evaluation."""
    tasks = {"pretrain": (pretrain.TASK, PRETRAIN), "asr": (asr.TASK, RECOGNISER)}
    steps = Steps(*tasks[name], accumulate, devices)
    with jax.set_mesh(steps.mesh):
        return jax.device_get(steps.evaluate(steps.state, steps.batch, jnp.asarray(3)))


@pytest.mark.parametrize("name", ["pretrain", "asr"])
def test_evaluation_does_not_depend_on_microbatches_and_devices(name):
    (sums, outputs), (again, outputs_again) = evaluated(name, 1, 1), evaluated(name, 4, 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4), sums, again)
    jax.tree.map(np.testing.assert_array_equal, outputs, outputs_again)
    if name == "asr":
        lengths = (outputs["path_BxT"] >= 0).sum(1)  # the rows have increasing lengths
        assert (np.diff(lengths) >= 0).all() and lengths[0] < lengths[-1] <= FRAMES


@functools.cache
def started(accumulate, devices):
    steps = Steps(pretrain.TASK, PRETRAIN, accumulate, devices)
    with jax.set_mesh(steps.mesh):
        return jax.device_get(steps.start(steps.state, steps.batch).state["codebooks"])


def test_start_does_not_depend_on_microbatches_and_devices():
    """The frames are chosen from the whole batch, independently of the microbatches."""
    books, again = started(1, 1), started(4, 4)
    np.testing.assert_array_equal(again["counts"], np.ones_like(books["counts"]))
    np.testing.assert_allclose(again["sums"], books["sums"], rtol=1e-4, atol=1e-4)


def test_codewords_start_at_frames_of_the_whole_batch():
    """Each codeword is the target of one of the frames chosen from the whole batch."""
    steps = Steps(pretrain.TASK, PRETRAIN, 1)
    state, config = jax.device_get(steps.state), steps.config
    x, frames = surface(steps.batch, steps.state.frozen["features"], steps.features)
    mask = masking.frame_mask(frames, x.shape[1])
    targets, _ = uniwav.targets(state.state["teacher"], x, mask, config)
    found = []
    for word in started(1, 1)["sums"][0]:
        distance = np.abs(np.asarray(targets[0]) - word).max(-1)
        assert distance.min() < 1e-4
        found.append(np.unravel_index(distance.argmin(), distance.shape))
    assert len(set(found)) == config.distillation.codewords
    assert all(np.asarray(mask)[place] for place in found)
    assert len({row for row, _ in found}) > 4  # out of 16 rows
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 2)
    chosen = np.asarray(quantizer.choose_frames(key, mask, config.distillation.codewords))
    assert [chosen[place] for place in found] == list(range(config.distillation.codewords))


def test_evaluation_and_start_need_no_more_memory_than_the_update():
    """They use sixteen microbatches of four rows; without them both would need more memory."""
    steps = Steps(pretrain.TASK, {**PRETRAIN, "distillation.codewords": 256}, 16, rows=64)
    with jax.set_mesh(steps.mesh):
        lowered = {
            "update": steps.update.lower(steps.state, steps.batch),
            "evaluate": steps.evaluate.lower(steps.state, steps.batch, jnp.asarray(0)),
            "start": steps.start.lower(steps.state, steps.batch),
        }
        memory = {
            name: one.compile().memory_analysis().temp_size_in_bytes
            for name, one in lowered.items()
        }
    assert memory["evaluate"] <= memory["update"], memory
    assert memory["start"] <= memory["update"], memory
