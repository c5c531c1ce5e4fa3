"""The table of a sweep, from the files of its runs alone."""

import json
import math

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep

T = 4.302652729911275  # 97.5 % quantile of Student's t with two degrees of freedom


def write_run(out, config, seed, **measures):
    run = sweep.workdir(out, config, seed)
    run.mkdir(parents=True)
    lines = [{"step": 1, "loss": 9.0}, {"step": 1, "eval_loss": 9.0}, {"step": 2, **measures}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_intervals_over_seeds_and_pairs(tmp_path):
    values = {"base": (1.0, 2.0, 3.0), "ablation:near": (2.0, 2.5, 4.0), "far": (1.0, 4.0, 2.0)}
    for config, of in values.items():
        for seed, value in enumerate(of):
            write_run(tmp_path, config, seed, eval_loss=value, eval_clips_left_out=3)
    document = sweep.table(str(tmp_path), list(values), [0, 1, 2])
    assert list(document["measures"]) == ["eval_loss"]
    base, near, far = document["measures"]["eval_loss"].values()
    assert base["mean"] == 2 and base["half_width"] == pytest.approx(T / math.sqrt(3))
    assert "difference" not in base and base["seeds"] == {0: 1.0, 1: 2.0, 2: 3.0}
    deviation = math.sqrt(1 / 12)  # of the differences 1, 0.5 and 1
    assert near["difference"] == pytest.approx(5 / 6)
    assert near["difference_half_width"] == pytest.approx(T * deviation / math.sqrt(3))
    assert near["differs"] is True and far["differs"] is False
    text = sweep.render(document)
    assert "0.8333 (0.1162 to 1.55): differs" in text
    assert "cannot be told apart" in text and "Seeds 0, 1, 2." in text


def test_judges_beside_a_run(tmp_path):
    run = write_run(tmp_path, "base", 0, eval_loss=1.0)
    states = {"states": [{"pnmi": 0.3}, {"pnmi": 0.4}, {"pnmi": 0.2}]}
    units = {"encoder": {"states": [{"pnmi": 0.9}]}, "fit_manifest": {"encoder": states}}
    sweep.beside(run, "_units.json").write_text(json.dumps(units))
    write_run(tmp_path, "base", "0_asr", eval_cer=0.5)
    assert sweep.measured(run) == {"eval_loss": 1.0, "pnmi": 0.4, "cer": 0.5}
    document = sweep.table(str(tmp_path), ["base", "missing"], [0])
    assert list(document["measures"]) == ["pnmi", "cer", "eval_loss"]
    assert document["measures"]["pnmi"] == {
        "base": {"seeds": {0: 0.4}, "mean": 0.4, "half_width": None}
    }


def test_one_seed_tells_no_difference(tmp_path):
    for config in ("a", "b"):
        write_run(tmp_path, config, 0, eval_loss=1.0)
    document = sweep.table(str(tmp_path), ["a", "b"], [0])
    assert document["measures"]["eval_loss"]["b"]["differs"] is None
    assert "one seed: nothing can be told" in sweep.render(document)


def test_no_run_was_evaluated(tmp_path):
    with pytest.raises(UserError, match="has no run of a, b that was evaluated"):
        sweep.table(str(tmp_path), ["a", "b"], [0])
