"""Reading metrics.jsonl, thinning curves, and the comparison of runs."""

import json

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import curves
from uniwav_jax.evaluation.curves import Curve

WHOLE = '{"step": 1, "loss": 3, "note": "a"}\n{"step": 2, "loss": 2.5}\n'


def written(folder, text):
    (folder / "metrics.jsonl").write_text(text)
    return str(folder)


def as_lists(found):
    return {n: (c.steps.tolist(), c.values.tolist()) for n, c in found.items()}


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.removesuffix("\n"),
        WHOLE + '{"step": 3, "lo',  # killed while it wrote
        WHOLE + '{"step": 3, "lo\n',
        WHOLE + "\0\0\0",
        WHOLE.replace('"a"', '[1, "a"]') + '{"step": 2, "note": 7}',  # Arrow refuses both types
    ],
)
def test_incomplete_last_lines_and_texts_are_ignored(tmp_path, text):
    found = as_lists(curves.read(written(tmp_path, text)))
    assert found["loss"] == ([1, 2], [3.0, 2.5])
    assert set(found) - {"note"} == {"loss"}


def test_a_file_is_read_as_its_folder_is(tmp_path):
    folder = written(tmp_path, WHOLE)
    assert as_lists(curves.read(folder)) == as_lists(curves.read(f"{folder}/metrics.jsonl"))


@pytest.mark.parametrize("extra", ["", '{"step": 9, "a": "text"}\n{"step": 9, "a": 1}\n'])
def test_null_is_not_finite_and_not_missing(tmp_path, extra):
    """Also where a mixture of texts and numbers makes it read line by line."""
    text = '{"step": 1, "a": 1, "b": null}\n{"step": 2, "b": 2}\n{"step":3,"b":null}\n'
    found = curves.read(written(tmp_path, text + extra))
    assert found["a"].steps[0] == 1 and 2 not in found["a"].steps
    assert found["b"].steps.tolist() == [1, 2, 3]
    assert np.isnan(found["b"].values).tolist() == [True, False, True]


def test_the_later_of_two_values_of_a_step_is_used(tmp_path):
    steps = [(1, 5.0), (3, 4.0), (2, 3.0), (3, 2.0)]
    text = "".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in steps)
    found = as_lists(curves.read(written(tmp_path, text)))
    assert found == {"loss": ([1, 2, 3], [5.0, 3.0, 2.0])}


def test_a_damaged_line_is_named(tmp_path):
    with pytest.raises(UserError, match="line 2 is no JSON object"):
        curves.read(written(tmp_path, WHOLE.replace('{"step": 2', '{"st') + WHOLE))
    with pytest.raises(UserError, match="does not exist"):
        curves.read(str(tmp_path / "none"))


def test_thin_keeps_the_extremes_of_each_part():
    values = np.sin(np.arange(10_007) / 900)
    values[4321], values[777], values[6000:6500] = 50.0, -50.0, np.nan
    curve = Curve(np.arange(10_007) * 25, values)
    thinned = curves.thin(curve, 100)
    assert 90 <= len(thinned.steps) <= 100 and (np.diff(thinned.steps) > 0).all()
    assert (values[thinned.steps // 25] == thinned.values)[np.isfinite(thinned.values)].all()
    assert {50.0, -50.0} <= set(thinned.values) and np.isnan(thinned.values).any()
    assert curves.thin(thinned, 100) is thinned


def test_smooth_takes_means():
    curve = Curve(np.arange(10), np.array([1.0, 3, 5, 7, np.nan, 2, 2, 2, 2, 8]))
    means = curves.smooth(curve, 5)
    assert means.values.tolist() == [2.0, 6.0, 2.0, 2.0, 8.0]
    assert means.steps.tolist() == [0, 2, 5, 7, 9]


def test_band_spans_the_runs_where_they_have_values():
    runs = [Curve(np.array([0, 10]), np.array([0.0, 10.0])), Curve(np.array([5]), np.array([7.0]))]
    steps, low, high = curves.band(runs, 100)
    assert steps.tolist() == [0, 5, 10]
    assert low.tolist() == [0, 5, 10] and high.tolist() == [0, 7, 10]
    long = Curve(np.arange(5000), np.arange(5000.0))
    assert len(curves.band([long, long], 100)[0]) <= 100


def constant(value, steps=range(10, 101, 10)):
    return Curve(np.array(steps), np.full(len(steps), float(value)))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.5, "below by 0.5"), (2.0, "within"), (1.999, "within"), (2.5, "within"), (4, "above by 1")],
)
def test_comparison(value, verdict):
    """A tenth of a percent does not count."""
    assert curves.compare(constant(value), [constant(2), constant(3)], 100).verdict == verdict


def test_comparison_takes_the_last_tenth_up_to_the_step():
    falling = Curve(np.arange(1, 201), np.arange(200.0, 0, -1))
    found = curves.compare(falling, [falling], 100)
    assert (found.low, found.high, found.value) == (101, 110, 105.5)


def test_comparison_of_rare_values_interpolates():
    rare = Curve(np.array([0, 100]), np.array([0.0, 10.0]))
    found = curves.compare(rare, [rare], 50)
    assert found == (5.0, 5.0, 5.0)
    assert curves.compare(rare, [constant(1, [60])], 50) is None
    assert curves.compare(constant(np.nan), [rare], 50) is None
