import dataclasses
import itertools
import json
import pickle
import time

import numpy as np
import pytest

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.data.text_labels import TEXT
from uniwav_jax.errors import UserError
from uniwav_jax.train import loop

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
    for g in (299, 3, 150, 0):  # in any order, in another process
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
        # A whole clip in the shortest bucket into which it fits, or a full crop of the longest.
        whole = clip_lengths <= 8 * RATE
        assert (batch.samples == np.where(whole, clip_lengths, 8 * RATE)).all()
        assert (batch.bucket == np.where(clip_lengths <= 4 * RATE, 4, 8) * RATE).all()


def test_each_pass_takes_every_segment_once(tmp_path, lengths):
    """A long clip is used round(length / longest bucket) times, spread over its length."""
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    bucket = 8 * RATE
    expected = {
        clip: max(1, round(n / bucket)) for clip, n in enumerate(lengths.tolist()) if n > 4 * RATE
    }
    segments = sum(expected.values())
    batches = (plan[g] for g in range(10_000))
    drawn, starts = [], {}
    for batch in batches:
        if batch.bucket == bucket:
            drawn += batch.clip.tolist()
            for clip, start in zip(batch.clip, batch.start):
                starts.setdefault(clip, []).append(start)
        if len(drawn) >= 2 * segments + 8:
            break
    # The stream of a bucket has a fixed order, so any window of one pass is complete.
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


def librispeech(hours):
    """Lengths in seconds like those of LibriSpeech: most 12 to 16 s, few below 4 or above 16."""
    random = np.random.default_rng(3)
    count = round(hours * 3600 / 12.1)
    long = random.random(count) < 0.75
    return np.where(long, random.normal(14, 1.3, count), random.uniform(2, 14, count)).clip(2, 16.5)


def prompts(hours):
    """Lengths in seconds like those of telephone prompts: most of them 1 to 4 s."""
    random = np.random.default_rng(4)
    return random.lognormal(0.85, 0.65, round(hours * 3600 / 2.85)).clip(0.5, 10)


@pytest.mark.parametrize("hours", [0.2, 1, 5, 20, 1000])
@pytest.mark.parametrize("kind", [librispeech, prompts], ids=["librispeech", "prompts"])
def test_speech_is_used_in_natural_proportion(tmp_path, kind, hours):
    """Seconds of each length in the default batches; no segment is used twice before the others."""
    seconds = kind(hours)
    samples = (seconds * RATE).astype(int)
    default = default_config("base").data
    settings = {name: default[name] for name in ("batch_seconds", "buckets", "row_multiple")} | {
        "min_seconds": 0.5
    }
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", samples), **settings)
    passes = 2 if hours > 100 else 20
    drawn, drawn_samples = np.zeros(len(samples), int), 0
    for g in itertools.count():
        batch = plan[g]
        counts = np.unique(batch.clip, return_counts=True)[1]
        inside = len(samples) if len(plan.rows) == 1 else len(counts)
        # Each segment of the bucket is used equally often or once more.
        assert counts.max() <= -(-len(batch.clip) // inside)
        assert len(counts) == min(inside, len(batch.clip))
        np.add.at(drawn, batch.clip, 1)
        drawn_samples += int(batch.samples.sum())
        if drawn_samples >= passes * samples.sum():
            break
    length = np.digitize(seconds, default.buckets)
    natural = np.bincount(length, samples)
    shares = np.bincount(length, samples * drawn) / drawn_samples
    np.testing.assert_allclose(shares, natural / samples.sum(), rtol=0.05)


def test_clips_too_few_for_a_batch_are_padded_to_a_longer_bucket(tmp_path):
    """If the longest clips are too few, they take the longest ones of the next bucket."""
    # A batch has 16 rows of 4 s, or 8 of 8 s.
    short, long = [2 * RATE] * 15 + [3 * RATE] * 15, [6 * RATE] * 8
    for name, lengths, rows, padding in (
        ("enough", short + long, {4: 16, 8: 8}, None),
        ("few short", short[:12] + long, {8: 8}, "12 clips up to 4 s are padded to 8 s because"),
        (
            "few long",
            short + long[:3],
            {4: 16, 8: 8},
            "5 clips up to 4 s are padded to 8 s to",
        ),
        ("few of both", short[14:16] + long[:2], {8: 8}, "2 clips up to 4 s are padded to 8 s"),
        ("short alone", short[:10], {4: 16}, None),
    ):
        plan = make(tmp_path, write_manifest(tmp_path / f"{name}.tsv", lengths))
        assert plan.rows == {bucket * RATE: count for bucket, count in rows.items()}, name
        padding_line = plan.summary().get("padding", "")
        assert padding_line.startswith(padding) if padding else not padding_line, name
        assert ("repeats" in plan.summary()) == (len(lengths) < 8 or name == "short alone")
        for g in range(30):
            batch, lengths_N = plan[g], np.array(lengths)
            assert (lengths_N[batch.clip] <= batch.bucket).all()
            assert (batch.samples == lengths_N[batch.clip]).all() and not batch.start.any()
            if name == "few long" and batch.bucket == 8 * RATE:
                assert sorted(batch.clip)[-3:] == [30, 31, 32]
                assert (lengths_N[batch.clip][batch.clip < 30] == 3 * RATE).all()  # the longest


def test_texts_follow_their_clips_into_a_longer_bucket(tmp_path):
    """A short clip may have the longest text of the bucket to which it is padded."""
    rows = [f"{i}.wav\t{3 * RATE}\t{RATE}\t\t{'ab' * 5}\n" for i in range(3)]
    rows += [f"l{i}.wav\t{7 * RATE}\t{RATE}\t\ta\n" for i in range(9)]
    (tmp_path / "m.tsv").write_text("path\tsamples\tsample_rate\tspeaker\ttext\n" + "".join(rows))
    config = default_config("tiny")
    config.task, config.text.symbols, config.asr.freeze_steps = "asr", ("a", "b"), 0
    config.evaluate.sample_every = 0
    config.data.update(manifest=str(tmp_path / "m.tsv"), batch_seconds=64.0, buckets=(4.0, 8.0))
    config.data.update(row_multiple=4, min_seconds=1.0)
    plan = BatchPlan(from_dict(config), cache=str(tmp_path / "cache"), labels=TEXT)
    assert plan.rows == {8 * RATE: 8} and plan.label_lengths == {8 * RATE: {"tokens": 10}}


def test_small_corpus_of_large_weight_repeats_evenly(tmp_path):
    """Its clips must repeat within a batch, each equally often or once more."""
    large = write_manifest(tmp_path / "l.tsv", [6 * RATE] * 100)
    small = write_manifest(tmp_path / "s.tsv", [6 * RATE] * 3)
    plan = make(tmp_path, f"{large},{small}", weights="0.1,0.9", batch_seconds=160.0)
    assert plan.rows == {8 * RATE: 20}
    rows = np.zeros(2)
    for g in range(100):
        batch = plan[g]
        counts = np.bincount(batch.clip[batch.corpus == 1], minlength=3)
        assert counts.max() - counts.min() <= 1
        others = batch.clip[batch.corpus == 0]
        assert len(np.unique(others)) == len(others)
        rows += np.bincount(batch.corpus, minlength=2)
    np.testing.assert_allclose(rows, [200, 1800], atol=1)


def test_evaluation_takes_every_segment_once(tmp_path, lengths):
    # 7 clips up to 4 s are padded with the longer ones; long clips are several segments.
    lengths = np.concatenate([lengths[lengths > 4 * RATE], [2 * RATE] * 7])
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    once = plan.once()
    drawn, starts = np.zeros(len(lengths), int), set()
    for g, batch in enumerate(once):
        real = batch.clip >= 0
        assert len(real) == plan.rows[batch.bucket]
        assert real.all() or (g == len(once) - 1 and not real[real.sum() :].any())
        assert (batch.samples[real] > 0).all() and not batch.samples[~real].any()
        np.add.at(drawn, batch.clip[real], 1)
        starts |= set(zip(batch.clip[real].tolist(), batch.start[real].tolist()))
    expected = np.maximum(np.round(lengths / (8 * RATE)), 1)
    np.testing.assert_array_equal(drawn, expected)
    assert len(starts) == expected.sum()  # the segments of a clip have different starts
    again = pickle.loads(pickle.dumps(plan.once(3)))
    assert len(again) == 3 and all(same(again[g], once[g]) for g in range(3))
    assert len(plan.once(10_000)) == len(once)


def test_part_of_the_evaluation_is_a_sample_of_all(tmp_path):
    lengths = np.random.default_rng(5).integers(1 * RATE, 8 * RATE, 1000)
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", lengths))
    for limit in (8, 16):
        batches = [plan.once(limit)[g] for g in range(limit)]
        short = sum(batch.samples[batch.bucket == 4 * RATE].sum() for batch in batches)
        clips = np.concatenate([batch.clip for batch in batches])
        assert len(np.unique(clips)) == len(clips)
        share = short / sum(batch.samples.sum() for batch in batches)
        natural = lengths[lengths <= 4 * RATE].sum() / lengths.sum()
        assert share == pytest.approx(natural, abs=0.08)


def test_resumed_run_prints_a_note_about_another_order(tmp_path):
    lines = []
    plan = make(tmp_path, write_manifest(tmp_path / "m.tsv", [2 * RATE] * 20))
    now = plan.fingerprint()
    assert now == json.loads(json.dumps(now))  # as a checkpoint gives it back
    loop._compare_data(now, now, lines.append)
    assert not lines
    before = {name: value for name, value in now.items() if name != "order_of_batches"}
    loop._compare_data(before, now, lines.append)
    assert len(lines) == 1 and "other batches" in lines[0]
    loop._compare_data({**now, "seed": 7}, now, lines.append)
    assert len(lines) == 2 and "(seed)" in lines[1]


def test_no_usable_clip(tmp_path):
    manifest = write_manifest(tmp_path / "m.tsv", [100, 200])
    with pytest.raises(UserError, match=r"no clip of at least config\.data\.min_seconds"):
        make(tmp_path, manifest)


def test_million_rows_plan_in_a_second(tmp_path):
    lengths = np.random.default_rng(2).integers(RATE, 35 * RATE, 1_000_000)
    manifest = write_manifest(tmp_path / "m.tsv", lengths)
    make(tmp_path, manifest)  # it reads the text once and writes a mapped copy
    best = min(timed(make, tmp_path, manifest) for _ in range(3))
    assert best < 1.0, f"{best:.2f} s"
    plan = make(tmp_path, manifest)
    assert len(pickle.dumps(plan)) < 10_000  # no rows are copied to a reader process
    plan[0]
    assert timed(plan.__getitem__, 1000) < 0.1


def timed(function, *arguments):
    """CPU seconds, which other load on the machine does not affect."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


@pytest.mark.parametrize("name", ["manifest-*.arrow", "segments-*.npy"])
def test_damaged_copies_in_the_cache_are_named(tmp_path, name):
    path = write_manifest(tmp_path / "m.tsv", [2 * RATE] * 20)
    make(tmp_path, path)
    (file,) = (tmp_path / "cache").glob(name)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"is damaged .*; delete it") as error:
        make(tmp_path, path)
    assert str(file) in str(error.value)
    file.unlink()
    make(tmp_path, path)


def test_each_clip_is_used_once_at_each_speed(tmp_path):
    lengths = np.random.default_rng(5).integers(2 * RATE, 7 * RATE, 60)
    source = write_manifest(tmp_path / "m.tsv", lengths)
    plan = make(tmp_path, source, speeds=(0.9, 1.0, 1.1), buckets=(8.0,), batch_seconds=160.0)
    assert [corpus.speed for corpus in plan.corpora] == [0.9, 1.0, 1.1]
    rows = [row for g in range(9) for row in zip(plan[g].corpus, plan[g].clip, plan[g].samples)]
    assert {(c, clip) for c, clip, _ in rows} == set(itertools.product(range(3), range(60)))
    for corpus, clip, samples in rows:
        assert abs(samples - lengths[clip] / plan.corpora[corpus].speed) <= 1
    assert plan.fingerprint()["speeds"] == [0.9, 1.0, 1.1]
    assert "speeds" not in make(tmp_path, source).fingerprint()  # as in older checkpoints
    assert f"{source} at speed 0.9" in plan.summary() and source in plan.summary()


def test_speeds_share_the_weight_of_their_source(tmp_path):
    few, many = (write_manifest(tmp_path / f"{n}.tsv", [4 * RATE] * n) for n in (30, 300))
    plan = make(tmp_path, f"{few},{many}", weights="0.2,0.8", speeds=(1.0, 1.1))
    drawn = np.concatenate([plan[g].corpus for g in range(100)])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [0.1, 0.1, 0.4, 0.4], atol=0.03)
