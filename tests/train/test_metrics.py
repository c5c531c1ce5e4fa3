import json

import numpy as np
import pytest

from tests.conftest import limited_files
from uniwav_jax.train import pictures
from uniwav_jax.train.metrics import MetricsWriter, means


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_and_tensorboard(tmp_path):
    writer = MetricsWriter(str(tmp_path), enabled=True)
    writer.write(1, {"loss": 2.5, "count": 3})
    writer.write(2, {"loss": float("nan")})
    picture = tmp_path / "p.png"
    x = np.random.default_rng(0).normal(size=(100, 80))
    pictures.spectrogram_figure({"real": x, "generated": -x}, picture, seconds=2.0)
    writer.picture(2, "p", picture)
    writer.audio(2, "a", np.zeros(1600, np.float32), 16000)
    writer.close()
    assert lines(tmp_path) == [{"step": 1, "loss": 2.5, "count": 3}, {"step": 2, "loss": None}]
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert all(word in content for word in (b"loss", b"PNG", b"RIFF"))


def test_lines_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    writer = MetricsWriter(str(tmp_path), enabled=True)
    for step in range(1, 6):
        writer.write(step, {"loss": 1.0})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed during a write
    writer = MetricsWriter(str(tmp_path), enabled=True)
    writer.truncate_after(3)
    writer.write(4, {"loss": 9.0})
    writer.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert lines(tmp_path)[-1]["loss"] == 9.0


def test_alarms_have_their_own_file(tmp_path):
    writer = MetricsWriter(str(tmp_path), enabled=True)
    writer.write(1, {"loss": 1.0})
    writer.alarm(1, "too high")
    writer.alarm(2, "still")
    MetricsWriter(str(tmp_path / "none"), enabled=False).alarm(1, "not the first process")
    writer.close()
    text = (tmp_path / "alarms.jsonl").read_text()
    assert list(map(json.loads, text.splitlines())) == [
        {"step": 1, "alarm": "too high"},
        {"step": 2, "alarm": "still"},
    ]
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}] and not (tmp_path / "none").exists()


def test_full_disk_is_an_error_and_does_not_hang(tmp_path):
    writer = MetricsWriter(str(tmp_path), enabled=True)
    with limited_files(4096), pytest.raises(OSError, match="too large"):
        writer.audio(1, "a", np.zeros(16000, np.float32), 16000)
    with limited_files(4096), pytest.raises(OSError, match="too large"):
        for step in range(1000):
            writer.write(step, {"loss": 1.0})


def test_only_the_lead_process_writes(tmp_path):
    writer = MetricsWriter(str(tmp_path), enabled=False)
    writer.truncate_after(0)
    writer.write(1, {"loss": 1.0})
    writer.close()
    assert not list(tmp_path.iterdir())


def test_means_are_over_the_updates_that_were_not_skipped():
    def update(loss, perplexity, skipped):
        values = {"loss": loss, "perplexity": perplexity, "skipped_in_a_row": skipped}
        return {name: np.float32(value) for name, value in values.items()}

    nan, infinity = float("nan"), float("inf")
    updates = [update(1.0, nan, 0), update(nan, 80.0, 1), update(infinity, 60.0, 2)]
    updates += [update(3.0, 100.0, 0)]
    line = means(updates)
    # Finite metrics of a skipped update are not counted either.
    assert (line["loss"], line["perplexity"], line["skipped_share"]) == (2.0, 100.0, 0.5)
    lost = means(updates[1:3])
    assert np.isnan(lost["loss"]) and np.isnan(lost["perplexity"]) and lost["skipped_share"] == 1.0
    assert np.isnan(means([update(1.0, nan, 0)])["perplexity"])
