"""The gain from pretraining has intervals that include the differences between seeds."""

import json

import numpy as np
import pytest
from scipy import stats

from tests.conftest import REPOSITORY, load_tool
from uniwav_jax.measures import word_error

RESULTS = REPOSITORY / "benchmarks" / "results" / "asr_librispeech" / "results.json"
MEASURED = json.loads(RESULTS.read_text())["results"]


def errors(rate: float) -> dict[str, word_error.Errors]:
    """Errors of 100 clips of 100 units with nearly equal rates, whose mean is `rate`."""
    wrong = np.full(100, int(rate * 100))
    wrong[: round(rate * 10000) - wrong.sum()] += 1
    counts = np.stack([wrong, 0 * wrong, 0 * wrong, 100 - wrong], 1)
    return {name: word_error.Errors(counts, "") for name in ("cer", "wer")}


def test_gain_with_ten_minutes_is_smaller_than_differences_between_seeds():
    """Over clips only, the bounds for these rates would be 0.040 and 0.048."""
    tool, measured = load_tool("finetune_asr"), MEASURED[0]
    runs = {start: [*map(errors, measured[f"cer {start}"]["seeds"])] for start in tool.STARTS}
    result = tool.summary(runs)
    assert result["cer difference"] == pytest.approx([-0.127, 0.040], abs=1e-3)
    assert result["intervals"] == "seeds and clips"
    assert result["cer scratch"]["mean"] == pytest.approx(0.7269, abs=1e-4)
    low, high = (result["cer scratch"][bound] for bound in ("low", "high"))
    assert (low, high) == pytest.approx((0.660, 0.793), abs=1e-3)


def test_one_seed_has_intervals_over_clips_only():
    tool = load_tool("finetune_asr")
    result = tool.summary({"pretrained": [errors(0.4)], "scratch": [errors(0.5)]})
    assert "clips only" in result["intervals"]
    assert result["cer difference"] == pytest.approx([-0.1, -0.1], abs=0.01)


@pytest.mark.parametrize("result", MEASURED, ids=lambda result: f"{result['minutes']:.0f}min")
@pytest.mark.parametrize("name", ["cer", "wer"])
def test_published_intervals_include_the_seeds(result, name):
    rates = [np.array(result[f"{name} {start}"]["seeds"]) for start in ("pretrained", "scratch")]
    less = rates[0] - rates[1]
    low, high = stats.t.interval(0.95, len(less) - 1, less.mean(), stats.sem(less))
    published = result[f"{name} difference"]
    assert published[0] < low and high < published[1]  # clips widen the interval a little
    assert published == pytest.approx([low, high], abs=0.002)
