"""Losses on held-out speech: each clip is counted once."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax import features as features_lib
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.data import manifest
from uniwav_jax.parallel.mesh import make_mesh
from uniwav_jax.tasks.task import Scores, Task
from uniwav_jax.train.evaluate import Evaluator
from uniwav_jax.types import TrainState


def count_frames(variables, example, draws, weight, key, config):
    """A loss that only counts frames, so that each clip's share in it is known."""
    frames_B = example.frames_B
    sums = {"frames": frames_B.sum(), "rows": (frames_B > 0).sum(), "batches": jnp.ones(())}
    return frames_B.sum(), {**sums, "outputs": {"path_BxT": example.x_BxTxC[..., 0]}}


def count_clips(outputs, corpora, config):
    return Scores({"clips": len(outputs)}, "counts", [["clip"], *([str(c)] for c in outputs)])


COUNTING = Task(
    name="count",
    init=None,
    draw=lambda key, example, config: example.frames_B,
    loss=count_frames,
    mean=lambda total: total,
    metrics=lambda sums, step, config: sums,
    score=count_clips,
)


def measure(held_out, batches, tmp_path):
    """The configuration, and the metrics of `COUNTING` on a manifest, which are also written."""
    values = default_config("tiny")
    values.data.update(manifest=str(held_out), batch_seconds=32.0)
    values.data.update(eval_manifest=str(held_out), buckets=(4.0,))
    values.data.min_seconds, values.evaluate.batches = 0.1, batches
    values.data.speeds = [0.9, 1.1]  # of training only
    config = from_dict(values)
    features = features_lib.build(config.features)
    mesh = make_mesh(config.mesh)
    written = {}
    writer = types.SimpleNamespace(write=lambda step, metrics: written.update(metrics))
    params = {"mean": np.zeros(features.channels), "std": np.ones(features.channels)}
    frozen = {"features": params | features.weights}
    state = TrainState(jnp.zeros((), jnp.int32), {}, {}, {}, {}, frozen, jnp.zeros(2, jnp.int32))
    with jax.set_mesh(mesh):
        evaluator = Evaluator(COUNTING, config, features, mesh, tmp_path, writer)
        metrics = evaluator.measure(3, state)
    assert metrics == written
    return config, metrics


@pytest.mark.parametrize("batches", [0, 1, 8])
def test_each_clip_counts_once(small_corpus, tmp_path, batches):
    """12 clips in batches of 8 rows: the first batch is full, the second has 4 empty rows."""
    config, metrics = measure(small_corpus / "manifest.tsv", batches, tmp_path)
    table = (tmp_path / "counts" / "step_0000003.tsv").read_text().splitlines()
    assert len(table) == 1 + metrics["eval_clips"]
    assert metrics["eval_clips_left_out"] == 0
    assert metrics["eval_batches"] == (1 if batches == 1 else 2)
    assert metrics["eval_rows"] == metrics["eval_clips"] == (8 if batches == 1 else 12)
    features = features_lib.build(config.features)
    lengths = manifest.load(config.data.manifest, cache=str(tmp_path)).lengths(16000)
    frames = features.output_length(lengths).sum()
    assert (metrics["eval_frames"] == frames) == (batches != 1)


def test_clips_that_cannot_be_read_are_not_scored(small_corpus, tmp_path):
    """They are counted among the clips that are left out, and have no row of the task's scores."""
    header, *rows = (small_corpus / "manifest.tsv").read_text().splitlines()
    rows = [f"{small_corpus}/{row}" for row in rows]
    held_out = tmp_path / "m.tsv"
    path = rows[0].split("\t")
    path[0] = f"{tmp_path}/gone.flac"
    held_out.write_text("\n".join([header, *rows[:3], "\t".join(path)]) + "\n")
    _, metrics = measure(held_out, 0, tmp_path)
    assert metrics["eval_clips"] == 3 and metrics["eval_clips_left_out"] == 1
