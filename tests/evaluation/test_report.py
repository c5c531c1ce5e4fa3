"""The command `uniwav report` on synthetic metrics."""

import json

import matplotlib.image
import numpy as np
import pytest

from uniwav_jax import cli
from uniwav_jax.errors import UserError


def report(*arguments):
    return cli.main(["report", "--workdir", *map(str, arguments)])


def write_run(workdir, steps=range(50, 1001, 50), tail=""):
    """Write metrics whose loss_encoder falls to its minimum, 2.0 at step 800, and rises again."""
    workdir.mkdir()
    lines = []
    for step in steps:
        lines.append(
            {
                "step": step,
                "loss_encoder": 2.0 + abs(step - 800) / 200,
                "loss_decoder": 2.0 - step / 2000,
                "target_perplexity": step / 10,
                "prediction_perplexity": step / 20,
                "grad_norm": 1000 / step,
                "lr": step * 1e-6,
                "audio_seconds_per_second": 400.0,
                "skipped": 0,
            }
        )
        if step % 500 == 0:
            lines.append({"step": step, "eval_loss_encoder": 3.0 - step / 1000})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workdir / "metrics.jsonl").write_text(text + tail)
    (workdir / "config.json").write_text(json.dumps({"data": {"batch_seconds": 360.0}}))
    return workdir


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A folder with runs a and b, and their report in deep/out; b's last line is incomplete."""
    folder = tmp_path_factory.mktemp("report")
    a = write_run(folder / "a")
    b = write_run(folder / "b", steps=range(50, 501, 50), tail='{"step": 550, "loss_enc')
    assert report(a, b, "--out", folder / "deep" / "out") == 0
    return folder


def test_summary(two_runs):
    summary = json.loads((two_runs / "deep" / "out" / "summary.json").read_text())["runs"]
    a, b = summary[str(two_runs / "a")], summary[str(two_runs / "b")]
    assert a["steps"] == 1000 and a["hours_of_audio"] == pytest.approx(100.0)
    assert b["steps"] == 500 and b["hours_of_audio"] == pytest.approx(50.0)
    assert a["metrics"]["loss_encoder"] == {
        "first": 5.75,
        "best": 2.0,
        "best_step": 800,
        "last": 3.0,
    }
    assert a["metrics"]["target_perplexity"]["best_step"] == 1000
    assert a["metrics"]["eval_loss_encoder"]["last"] == 2.0
    assert a["metrics"]["lr"] == pytest.approx({"first": 5e-5, "last": 1e-3})
    assert b["metrics"]["loss_encoder"]["last"] == 3.5


def test_markdown(two_runs):
    text = (two_runs / "deep" / "out" / "summary.md").read_text()
    assert f"## {two_runs / 'a'}" in text and "1000 steps, 100 hours of audio" in text
    assert "| loss_encoder | 5.75 | 2 | 800 | 3 |" in text


def test_picture(two_runs):
    picture = matplotlib.image.imread(two_runs / "deep" / "out" / "curves.png")
    assert picture.shape[0] > 800 and picture.shape[1] > 800
    for colour in ((31, 119, 180), (255, 127, 14)):  # matplotlib's first two colours, one per run
        here = np.abs(picture[..., :3] * 255 - colour).max(-1) < 2
        assert here.sum() > 200


def test_repeated_steps_use_the_later_value_and_null_means_not_finite(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    lines = [(50, 4.0), (100, 3.5), (100, 3.0), (150, None)]  # null: not finite
    text = "".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in lines)
    (workdir / "metrics.jsonl").write_text(text)
    assert report(workdir, "--out", tmp_path / "out") == 0
    run = json.loads((tmp_path / "out" / "summary.json").read_text())["runs"][str(workdir)]
    assert run["hours_of_audio"] is None
    assert run["metrics"]["loss"] == {"first": 4.0, "best": 3.0, "best_step": 100, "last": None}
    assert "| loss | 4 | 3 | 100 | not finite |" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("", "no complete line"),
        ('{"step": 50, "lo', "no complete line"),
        ('{"step": 50, "loss": 1.0}\n[3]\n{"step": 100, "loss": 1.0}\n', "line 2 is no JSON"),
    ],
)
def test_errors_name_the_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(UserError, match=rf"metrics\.jsonl.*{message}"):
        report(tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
