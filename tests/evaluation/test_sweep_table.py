"""The table of a sweep: numbers by hand, what differs, and which values are read."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep_table
from uniwav_jax.evaluation.sweep_table import Run

REPOSITORY = pathlib.Path(__file__).parents[2]
T2 = 4.302653  # the quantile 0.975 of Student's t with two degrees of freedom


def lines(path: pathlib.Path, values: dict[int, dict[str, float | None]]) -> None:
    """Write a metrics.jsonl, {step: {metric: value}}."""
    path.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"step": step, **line}) + "\n" for step, line in values.items())
    (path / "metrics.jsonl").write_text(text)


def finish(run: Run, *stages: str, loss: float = 0.0, **more: float | None) -> None:
    """The files of a run with finished stages."""
    values = {f"eval_{name}": value for name, value in more.items()}
    lines(run.file(), {1: {"loss": 9.0, "eval_loss": 9.0}, 2: {"eval_loss": loss, **values}})
    record = {stage: {"command": [stage], "seconds": 1.0} for stage in ("train", *stages)}
    run.file(".json").write_text(json.dumps(record))


def test_folders_are_named_by_configs():
    assert sweep_table.folder_of("ablations/joint") == "ablations/joint"
    assert sweep_table.folder_of("ablations/depth:4x2") == "ablations/depth_4x2"
    assert sweep_table.folder_of("ablations/features:codecs/my lyra") == (
        "ablations/features_codecs_my_lyra"
    )
    assert sweep_table.folder_of("/some/where/mine.py:a") == "mine_a"
    run = Run(pathlib.Path("out"), "ablations/weight:4", 3)
    assert run.file(".log") == pathlib.Path("out/ablations/weight_4/seed_3.log")
    assert str(run) == "ablations/weight:4, seed 3" and run.record() == {}


def test_intervals_by_hand():
    """Means 2 and 2.5; the differences 0.4, 0.5 and 0.6 have the deviation 0.1."""
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 1.4, 1: 2.5, 2: 3.6}}
    table = sweep_table.compare(values, "a")
    half = T2 / np.sqrt(3)
    assert table["a"]["mean"] == 2.0 and "difference" not in table["a"]
    assert (table["a"]["low"], table["a"]["high"]) == pytest.approx((2 - half, 2 + half))
    assert (table["b"]["low"], table["b"]["high"]) == pytest.approx(
        (2.5 - 1.1 * half, 2.5 + 1.1 * half)
    )
    found = table["b"]["difference"]
    assert found["mean"] == pytest.approx(0.5) and found["seeds"] == 3
    assert (found["low"], found["high"]) == pytest.approx((0.5 - 0.1 * half, 0.5 + 0.1 * half))
    assert table["b"]["told_apart"] is True  # pairs tell what the means alone would not


def test_what_cannot_be_told_apart():
    values = {
        "a": {0: 1.0, 1: 2.0},
        "same": {0: 1.0, 1: 2.0},
        "wide": {0: 1.1, 1: 3.0},
        "other seeds": {2: 9.0, 3: 9.0},
        "one seed": {0: 5.0},
        "none": {},
    }
    table = sweep_table.compare(values, "a")
    told = {config: row["told_apart"] for config, row in table.items() if config != "a"}
    assert told == {
        **{"same": False, "wide": False},
        **{"other seeds": None, "one seed": None, "none": None},
    }
    assert table["other seeds"]["difference"] == {
        **{"mean": None, "low": None, "high": None},
        "seeds": 0,
    }
    assert table["one seed"]["difference"]["mean"] == 4.0 and table["one seed"]["low"] is None


def test_the_last_losses_of_finished_runs_are_read(tmp_path):
    run = Run(tmp_path, "a", 0)
    run.file().mkdir(parents=True)
    lines(run.file(), {1: {"eval_loss": 1.0}})
    assert sweep_table.measured(run) == {}  # not finished
    finish(run, loss=0.5)
    assert sweep_table.measured(run) == {"eval_loss": 0.5}
    finish(run, loss=3.0, loss_encoder=1.0, loss_decoder=0.0, loss_encoder_above_targets=0.3)
    assert sweep_table.measured(run) == {"eval_loss_encoder": 1.0}  # no decoder was trained
    finish(run, loss=3.0, cer=0.25, wer=None)
    assert sweep_table.measured(run) == {"eval_loss": 3.0, "eval_cer": 0.25}


def test_the_judges_results_are_read(tmp_path):
    run = Run(tmp_path, "a", 0)
    finish(run, "units", "asr", "tts", "speech", loss=1.0)
    layers = [{"layer": 1, "pnmi": 0.3}, {"layer": 2, "pnmi": 0.4}]
    document = {"encoder": {"states": layers}}
    run.file(".units.json").write_text(json.dumps(document))
    lines(run.file(".asr"), {5: {"eval_cer": 0.9}, 10: {"eval_cer": 0.6}})
    rows = {"oracle": {"word_error": {"mean": 0.2}}}
    run.file(".speech.json").write_text(json.dumps({"rows": rows}))
    expected = {"eval_loss": 1.0, "pnmi": 0.4, "cer": 0.6, "speech_word_error": 0.2}
    assert sweep_table.measured(run) == expected

    document["fit_manifest"] = {"encoder": {"states": [{"layer": 1, "pnmi": 0.35}]}}
    run.file(".units.json").write_text(json.dumps(document))
    run.file(".speech.json").write_text(json.dumps({"rows": {"oracle": {}}}))  # no judge of words
    found = sweep_table.measured(run)
    assert found["pnmi"] == 0.35 and "speech_word_error" not in found
    run.file(".units.json").write_text(json.dumps({**document, "tokens": [{"pnmi": 0.31}]}))
    found = sweep_table.measured(run)
    assert found["pnmi_tokens"] == 0.31 and "pnmi" not in found
    run.file(".units.json").write_text("{")
    with pytest.raises(UserError, match=r"seed_0\.units\.json cannot be read: .*delete it"):
        sweep_table.measured(run)


def test_the_table_in_files(tmp_path):
    for config, losses in {
        "a": (1.0, 2.0, 3.0),
        "b": (1.4, 2.5, 3.6),
        "c": (1.0, 2.9, 2.5),
    }.items():
        for seed, loss in enumerate(losses):
            finish(Run(tmp_path, config, seed), loss=loss)
    failed = {"stage": "train", "status": 2, "log": "the.log"}
    broken = Run(tmp_path, "d", 0)
    broken.file().mkdir(parents=True)
    broken.file(".json").write_text(json.dumps({"failed": [failed]}))
    document = sweep_table.write(tmp_path, ["a", "b", "c", "d"], [0, 1, 2])
    assert json.loads((tmp_path / "table.json").read_text())["configs"] == ["a", "b", "c", "d"]
    assert document["failed"] == [{"run": "d, seed 0", **failed}]
    assert document["unfinished"] == ["d, seed 1", "d, seed 2"]
    text = (tmp_path / "table.md").read_text()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in text.splitlines() if line.startswith("| "))
    }
    assert rows["config"] == ["seed 0", "seed 1", "seed 2", "mean", "less a", "differs"]
    assert rows["a"] == ["1.0000", "2.0000", "3.0000", "2.0000 (-0.4841 to 4.4841)", "", ""]
    half = 0.1 * T2 / np.sqrt(3)
    difference = f"0.5000 ({0.5 - half:.4f} to {0.5 + half:.4f})"
    assert rows["b"][4:] == [difference, "yes, higher"] and rows["c"][-1] == "no"
    assert rows["d"] == ["-", "-", "-", "-", "-", "too few seeds"]
    assert "No significant difference between a and c." in text
    assert "are needed to compare a and d." in text
    assert "Failed: d, seed 0, train; see the.log" in text
    assert "Not finished: d, seed 1; d, seed 2" in text


def test_with_one_seed_nothing_can_be_told(tmp_path):
    for config in "ab":
        finish(Run(tmp_path, config, 7), loss=1.0)
    sweep_table.write(tmp_path, ["a", "b"], [7])
    text = (tmp_path / "table.md").read_text()
    assert "At least two seeds with this measure are needed to compare a and b." in text
    assert "No significant" not in text


def test_the_published_table_follows_from_its_logs(tmp_path):
    """benchmarks/results/ablations has the files of each run, from which anybody makes it again."""
    published = REPOSITORY / "benchmarks" / "results" / "ablations" / "out"
    shutil.copytree(published, tmp_path / "out")
    given = json.loads((published / "table.json").read_text())
    (tmp_path / "out" / "table.md").unlink()
    document = sweep_table.write(tmp_path / "out", given["configs"], given["seeds"])
    assert not document["failed"] and len(document["measures"]) > 3
    assert (tmp_path / "out" / "table.md").read_text() == (published / "table.md").read_text()
