"""The training loop: the order of its actions, and the files between it and the losses."""

import itertools
import pathlib
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import uniwav_jax
from tests.train.small import SMALL, configuration
from uniwav_jax.checkpoint import store
from uniwav_jax.data import pipeline
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import flow
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.parallel.group import Group
from uniwav_jax.train import loop
from uniwav_jax.train import step as step_lib
from uniwav_jax.train.evaluate import Evaluator
from uniwav_jax.train.metrics import MetricsWriter

PACKAGE = pathlib.Path(uniwav_jax.__file__).parent
pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture(scope="module")
def three_updates(small_corpus, tmp_path_factory):
    """Actions of a run in their order, and the package's files on the call path to each loss."""
    actions, ways = [], {}

    def recorded(function, action):
        def call(*args, **options):
            actions.append(action)
            return function(*args, **options)

        return call

    def traced(function, name):
        def call(*args, **options):
            files = [pathlib.Path(frame.filename) for frame in traceback.extract_stack()[:-1]]
            ours = [str(f.relative_to(PACKAGE)) for f in files if f.is_relative_to(PACKAGE)]
            ways[name] = [file for file, _ in itertools.groupby(ours)]
            return function(*args, **options)

        return call

    def counted(train_step):
        """Trace the update without compiling it, which would take most of the time here."""

        def call(state, batch):
            _, metrics = jax.eval_shape(train_step, state, batch)
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)
            return state.replace(step=state.step + 1), zeros

        return call

    class Loader:
        def __init__(self, loader):
            self._next, self.close = recorded(loader.__next__, "next batch"), loader.close

        def __next__(self):
            return self._next()

    corpus = {
        "data.manifest": str(small_corpus / "manifest.tsv"),
        "data.buckets": (1.0,),
        "data.min_seconds": 0.5,
        "data.batch_seconds": 4.0,
        "data.row_multiple": 2,
    }
    every = {"train.log_every": 1, "evaluate.every": 1, "checkpoint.every": 2, "train.steps": 3}
    config = configuration({**corpus, **every})
    statistics = {"mean": np.zeros(SMALL["features.mel_bands"])}
    statistics["std"] = 1 + statistics["mean"]
    loader_of, step_of, mesh_of = (
        pipeline.make_loader,
        step_lib.make_train_step,
        mesh_lib.make_mesh,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_lib, "make_mesh", lambda config: mesh_of(config, jax.devices()[:1]))
        patch.setattr(loop, "measure_features", lambda *_: statistics)
        patch.setattr(pipeline, "make_loader", lambda *a, **o: Loader(loader_of(*a, **o)))
        patch.setattr(
            step_lib, "make_train_step", lambda *a: recorded(counted(step_of(*a)), "update")
        )
        patch.setattr(Evaluator, "measure", recorded(lambda *_: None, "evaluate"))
        patch.setattr(MetricsWriter, "write", recorded(MetricsWriter.write, "write"))
        patch.setattr(store, "save", recorded(store.save, "save"))
        for module, name in ((self_distillation, "cross_entropy_sum"), (flow, "velocity_error")):
            patch.setattr(module, name, traced(getattr(module, name), name))
        workdir = str(tmp_path_factory.mktemp("run"))
        assert loop.run(config, workdir, Group(60.0))
        recorded_once = list(actions)
        assert loop.run(config, workdir, Group(60.0))
        assert actions == recorded_once  # a finished run that is started again does nothing
    return actions, ways


def test_order_of_actions(three_updates):
    """Evaluate the state, save it, then read the next batch; lines are written one update late.

    A line waits for its update's metrics, so the next update is started before.
    """
    update = ["next batch", "update"]
    assert three_updates[0] == [
        *update,
        *("evaluate", *update, "write"),
        *("evaluate", "write", "save", *update),
        *("evaluate", "write", "save"),
    ]


def test_a_finished_run_says_so(tmp_path):
    """A run of three updates that is asked for two has nothing to do."""
    assert loop.finished_line(3, 2, tmp_path).startswith("step 3 is saved, beyond train.steps=2")
    assert loop.finished_line(2, 2, tmp_path).startswith("finished 2 steps")


def test_four_calls_between_files_from_main_to_the_losses(three_updates):
    """`main` calls the loop, which calls the step, which calls the task, which calls the loss."""
    way = ["train/loop.py", "train/step.py", "tasks/pretrain.py"]
    assert three_updates[1] == {"cross_entropy_sum": way, "velocity_error": way}
