import dataclasses
import pickle
import time

import numpy as np
import pytest

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.errors import UserError

RATE = 16000


def write_manifest(path, lengths):
    rows = "".join(f"c{i}.wav\t{n}\t{RATE}\t\t\n" for i, n in enumerate(lengths))
    path.write_text("path\tsamples\tsample_rate\tspeaker\ttext\n" + rows)
    return str(path)


def make(tmp_path, manifest, **data):
    config = default_config("tiny")
    values = {"batch_seconds": 64.0, "buckets": (4.0, 8.0), "row_multiple": 4, "min_seconds": 1.0}
    config.data.update(manifest=manifest, **{**values, **data})
    return BatchPlan(from_dict(config), cache=str(tmp_path / "cache"))


@pytest.fixture
def lengths():
    return np.random.default_rng(0).integers(RATE // 2, 30 * RATE, 500)


def same(a, b):
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
    )


def test_batch_is_a_function_of_its_number(tmp_path, lengths):
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    forward = [plan[g] for g in range(300)]
    again = pickle.loads(pickle.dumps(plan))
    for g in (299, 3, 150, 0):  # any order, in another process
        assert same(again[g], forward[g])
    assert not same(plan[0], plan[1])
    assert not same(make_with_seed(plan, tmp_path, 1)[0], forward[0])
    assert len(pickle.dumps(plan)) < 10_000


def make_with_seed(plan, tmp_path, seed):
    config = dataclasses.replace(plan._config, seed=seed)
    return BatchPlan(config, cache=str(tmp_path / "cache"))


def test_rows_shapes_and_bounds(tmp_path, lengths):
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    assert plan.rows == {4 * RATE: 16, 8 * RATE: 8}
    for g in range(200):
        batch = plan[g]
        assert len(batch.clip) == plan.rows[batch.bucket]
        clip_lengths = lengths[batch.clip]
        assert (clip_lengths >= RATE).all()  # min_seconds
        assert (batch.start >= 0).all() and (batch.start + batch.samples <= clip_lengths).all()
        # Whole clip in the smallest bucket that holds it, or a full crop of the longest.
        whole = clip_lengths <= 8 * RATE
        assert (batch.samples == np.where(whole, clip_lengths, 8 * RATE)).all()
        assert (batch.bucket == np.where(clip_lengths <= 4 * RATE, 4, 8) * RATE).all()


def test_each_pass_takes_every_segment_once(tmp_path, lengths):
    """And a long clip as many times as it holds the longest bucket, spread over its length."""
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    bucket = 8 * RATE
    segments = sum(d for *_, d in plan._streams[bucket])
    expected = {
        clip: max(1, round(n / bucket)) for clip, n in enumerate(lengths.tolist()) if n > 4 * RATE
    }
    batches = (plan[g] for g in range(10_000))
    drawn, starts = [], {}
    for batch in batches:
        if batch.bucket == bucket:
            drawn += batch.clip.tolist()
            for clip, start in zip(batch.clip, batch.start):
                starts.setdefault(clip, []).append(start)
        if len(drawn) >= 2 * segments + 8:
            break
    # Order within a bucket's stream follows the cycle, so any window of one pass is complete.
    counts = np.bincount(drawn[:segments], minlength=len(lengths))
    assert {c: int(n) for c, n in enumerate(counts) if n} == expected
    assert drawn[:segments] != drawn[segments : 2 * segments]
    longest = int(np.argmax(lengths))
    room = lengths[longest] - bucket
    assert max(starts[longest]) > room / 2 > min(starts[longest])


def test_mixture_has_the_wanted_shares(tmp_path):
    rng = np.random.default_rng(1)
    large = write_manifest(tmp_path / "l.tsv", rng.integers(2 * RATE, 20 * RATE, 400))
    small = write_manifest(tmp_path / "s.tsv", rng.integers(2 * RATE, 20 * RATE, 60))
    plan = make(tmp_path, f"{large},{small}", weights="0.3,0.7")
    seconds = np.zeros(2)
    for g in range(400):
        batch = plan[g]
        np.add.at(seconds, batch.corpus, batch.samples)
    assert seconds[1] / seconds.sum() == pytest.approx(0.7, abs=0.02)
    natural = make(tmp_path, f"{large},{small}")
    assert {int(c) for g in range(20) for c in natural[g].corpus} == {0, 1}
    with pytest.raises(UserError, match=r"data\.weights must be 2 numbers"):
        make(tmp_path, f"{large},{small}", weights="1")


def test_no_usable_clip(tmp_path):
    manifest = write_manifest(tmp_path / "m.tsv", [100, 200])
    with pytest.raises(UserError, match=r"no clip of at least config\.data\.min_seconds"):
        make(tmp_path, manifest)


def test_million_rows_plan_in_a_second(tmp_path):
    lengths = np.random.default_rng(2).integers(RATE, 35 * RATE, 1_000_000)
    manifest = write_manifest(tmp_path / "m.tsv", lengths)
    make(tmp_path, manifest)  # reads the text once and keeps it in mapped form
    best = min(timed(make, tmp_path, manifest) for _ in range(3))
    assert best < 1.0, f"{best:.2f} s"
    plan = make(tmp_path, manifest)
    assert len(pickle.dumps(plan)) < 10_000  # nothing is copied to a reader process
    plan[0]
    assert timed(plan.__getitem__, 1000) < 0.1


def timed(function, *arguments):
    """CPU seconds: what else the machine does is not counted."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start
