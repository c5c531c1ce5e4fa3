import dataclasses
import itertools

import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.data import pipeline
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.data.text_labels import TEXT
from uniwav_jax.errors import UserError

pack = cli.shortcut("data", "pack")


def config_of(manifest, **data):
    config = default_config("tiny")
    values = {"batch_seconds": 16.0, "buckets": (1.0, 2.0), "row_multiple": 8, "min_seconds": 0.5}
    config.data.update(manifest=str(manifest), **{**values, **data})
    return from_dict(config)


def batches(config, cache, count, *, start=0, rows=None):
    plan = BatchPlan(config, cache=str(cache))
    host_rows = {b: np.arange(n) if rows is None else rows for b, n in plan.rows.items()}
    loader = pipeline.make_loader(config, plan, host_rows=host_rows, start=start)
    try:
        return list(itertools.islice(loader, count))
    finally:
        loader.close()


def test_evaluation_ends_with_empty_rows(mixed_corpus, tmp_path):
    """They are silence without text and are not bad; the number of readers has no effect."""
    values = default_config("tiny")
    values.task, values.asr.freeze_steps, values.evaluate.sample_every = "asr", 0, 0
    manifest = mixed_corpus / "manifest.tsv"
    manifest.write_text(manifest.read_text().replace("\t\t\n", "\t\tab\n"))
    values.text.symbols = ("a", "b")
    values.data.update(manifest=str(manifest), buckets=(1.0, 2.0), min_seconds=0.5)
    values.data.update(batch_seconds=16.0, row_multiple=8)
    config = from_dict(values)
    plan = BatchPlan(config, cache=str(tmp_path / "c"), labels=TEXT)
    assert set(plan.rows) == {16000, 32000}
    everything = []
    for workers in (0, 3):
        data = dataclasses.replace(config.data, workers=workers)
        config = dataclasses.replace(config, data=data)
        rows = {bucket: np.arange(count) for bucket, count in plan.rows.items()}
        loader = pipeline.make_loader(config, plan.once(), host_rows=rows, start=0)
        everything.append(list(loader))
        loader.close()
    assert_same(*everything)
    assert len(everything[0]) == len(plan.once())
    empty = 0
    for planned, item in zip(plan.once(), everything[0]):
        real = planned.clip >= 0
        np.testing.assert_array_equal(item["samples"] > 0, real)
        np.testing.assert_array_equal((item["labels"]["tokens"] >= 0).any(1), real)
        assert not item["bad"].any() and not item["problems"]
        assert not item["audio"][~real].any()
        empty += (~real).sum()
    assert empty > 0


def assert_same(ours, theirs, rows=slice(None)):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        for name in ("audio", "samples", "bad"):
            np.testing.assert_array_equal(a[name], b[name][rows])


@pytest.fixture
def mixed_corpus(small_corpus, tmp_path):
    """The clips are cut into pieces of 0.6 to 3 s, which fill a batch of either bucket."""
    lines = ["path\tsamples\tsample_rate\tspeaker\ttext"]
    for index, source in enumerate(sorted(small_corpus.glob("*.flac"))):
        audio, rate = soundfile.read(source, dtype="int16")
        lengths = (9600 + 500 * index, 16000 - 100 * index, 11200 + 3300 * index)
        for piece, (start, length) in enumerate(zip((0, 16000, 0), lengths)):
            name = f"{source.stem}-{piece}.flac"
            soundfile.write(tmp_path / name, audio[start : start + length], rate)
            lines.append(f"{name}\t{length}\t{rate}\t\t")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_any_readers_and_hosts_give_the_same_batches(mixed_corpus, tmp_path):
    config = config_of(mixed_corpus / "manifest.tsv", threads=1)
    reference = batches(config, tmp_path / "c", 14)
    assert {item["audio"].shape for item in reference} == {(16, 16000), (8, 32000)}
    assert not any(item["bad"].any() for item in reference)
    many = dataclasses.replace(config, data=dataclasses.replace(config.data, threads=5, workers=2))
    assert_same(batches(many, tmp_path / "c", 14), reference)
    assert_same(batches(config, tmp_path / "c", 4, start=10), reference[10:])
    second_host = np.array([4, 5, 6, 7])
    assert_same(batches(config, tmp_path / "c", 14, rows=second_host), reference, second_host)


def test_packed_clips_give_the_same_batches(mixed_corpus, tmp_path, capsys):
    folder = tmp_path / "packed"
    assert (
        pack([str(mixed_corpus / "manifest.tsv"), "--out", str(folder), "--shard_seconds", "5"])
        == 0
    )
    assert len(list(folder.glob("*.array_record-*"))) > 2
    files = batches(config_of(mixed_corpus / "manifest.tsv"), tmp_path / "c", 14)
    assert_same(batches(config_of(folder), tmp_path / "c", 14), files)
    assert_same(batches(config_of(folder, workers=1), tmp_path / "c", 14), files)


def test_bad_clips_are_silent_named_once_and_counted(mixed_corpus, tmp_path):
    clips = sorted(mixed_corpus.glob("*.flac"))
    broken = clips[3:9]
    for clip in broken[:-1]:
        clip.write_bytes(b"not audio")
    broken[-1].unlink()
    config = config_of(mixed_corpus / "manifest.tsv", max_bad_fraction=1.0)
    items = batches(config, tmp_path / "c", 14)
    report = pipeline.BadFileReport(str(tmp_path / "bad.tsv"), config.data)
    for item in items:
        report.add(item)
        np.testing.assert_array_equal(item["bad"], item["samples"] == 0)
        assert not item["audio"][item["bad"]].any()
    assert sum(item["bad"].sum() for item in items) == sum(len(item["problems"]) for item in items)
    lines = (tmp_path / "bad.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in lines[1:]) == list(map(str, broken))
    # The other rows are the same as without the broken clips.
    good = [
        (item["audio"][row] != 0).any() for item in items for row in np.flatnonzero(~item["bad"])
    ]
    assert all(good)

    strict = dataclasses.replace(config.data, max_bad_fraction=0.02)
    report = pipeline.BadFileReport(str(tmp_path / "bad2.tsv"), strict)
    with pytest.raises(UserError, match="could not be read") as error:
        for item in items:
            report.add(item)
    assert "\n" not in str(error.value) and "bad2.tsv" in str(error.value)


def test_one_bad_clip_in_a_large_corpus_does_not_stop_the_run(tmp_path):
    report = pipeline.BadFileReport(str(tmp_path / "bad.tsv"), config_of("x").data)
    good = {"bad": np.zeros(16, bool), "problems": []}
    report.add({"bad": np.eye(16, dtype=bool)[0], "problems": [("a.wav", "broken")]})
    for _ in range(100):
        report.add(good)


def test_report_survives_a_kill_during_a_write(tmp_path):
    path = tmp_path / "bad_files.tsv"
    path.write_text("clip\treason\na.wav\tbroken\nb.w")
    report = pipeline.BadFileReport(str(path), config_of("x", max_bad_fraction=1.0).data)
    report.add({"bad": np.ones(1, bool), "problems": [("b.wav", "gone")]})
    assert path.read_text() == "clip\treason\na.wav\tbroken\nb.wav\tgone\n"
