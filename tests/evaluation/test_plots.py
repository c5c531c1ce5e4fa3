"""Plots: that points are where their values are, and what a plot says and omits."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from uniwav_jax.evaluation import plots
from uniwav_jax.evaluation.curves import Curve
from uniwav_jax.evaluation.plots import Scale


def curve(values, every=10):
    return Curve(np.arange(1, len(values) + 1) * every, np.array(values, float))


def parsed(text):
    return ElementTree.fromstring(text)


def lines(root, kind):
    """The values of the polylines of a class, by the scales that page.js reads."""
    scales = []
    for name in ("data-x", "data-y"):
        *ends, last = root.find("svg").get(name).removesuffix(" log").split(" ")
        low, high, first = map(float, ends)
        scales.append((low, high, first, float(last)))
    found = []
    for line in root.iter("polyline"):
        if line.get("class") == kind:
            units = np.array([p.split(",") for p in line.get("points").split()], float)
            found.append([])
            for (low, high, first, last), unit in zip(scales, units.T, strict=True):
                share = (unit - first) / (last - first)
                log = root.find("svg").get("data-y").endswith("log") and len(found[-1]) == 1
                found[-1].append(low * (high / low) ** share if log else low + share * (high - low))
    return found


@pytest.mark.parametrize("values", [[3, 2.5, 2.75, 1], [1000, 30, 0.5, 2], [-1, 0, 5, 3]])
def test_points_are_where_their_values_are(values):
    root = parsed(plots.plot("loss", {"training": curve(values)}, last_step=40))
    ((steps, found),) = lines(root, "training")
    assert steps == pytest.approx([10, 20, 30, 40], abs=0.01)
    assert found == pytest.approx(values, rel=1e-3, abs=1e-3)
    assert root.find("svg").get("data-y").endswith("log") == (values[0] == 1000)
    assert f"<b>{values[-1]:.4g}</b>" in ElementTree.tostring(root, "unicode")


def test_the_learning_rate_can_be_kept_linear():
    values = {"training": curve([1e-6, 1e-3])}
    text = plots.plot("lr", values, last_step=20, may_be_log=False)
    assert "log" not in text and "logarithmic" in plots.plot("lr", values, last_step=20)


def test_values_that_are_not_finite_are_gaps():
    root = parsed(plots.plot("a", {"training": curve([1, np.nan, 3, 4, np.nan])}, last_step=50))
    assert [len(found[0]) for found in lines(root, "training")] == [1, 2]
    assert "not finite: 2" in "".join(root.itertext())
    assert "training 4" in root.find("svg").get("aria-label")


def test_one_reference_is_a_curve_and_several_are_a_band():
    run, low, high = curve([2, 2]), curve([1, 1, 1, 9]), curve([3, 4, 5, 9])
    one = parsed(plots.plot("a", {"training": run}, references={"training": [low]}, last_step=20))
    assert not list(one.iter("polygon"))
    ((steps, values),) = lines(one, "training behind")
    assert steps == pytest.approx([10, 20]) and values == pytest.approx([1, 1], abs=0.01)
    several = parsed(
        plots.plot("a", {"training": run}, references={"training": [low, high]}, last_step=20)
    )
    (band,) = several.iter("polygon")
    assert len(band.get("points").split()) == 4
    assert "training, reference 1 to 4" in "".join(several.itertext())
    late = Curve(np.array([30]), np.array([1.0]))
    text = plots.plot("a", {"training": run}, references={"training": [late]}, last_step=20)
    assert "reference" not in text


def test_long_curves_are_drawn_by_their_extremes_and_their_mean():
    values = np.tile([1.0, 3.0], 50_000)
    values[12_345] = 9.0
    text = plots.plot("a", {"training": curve(values)}, last_step=1_000_000)
    root = parsed(text)
    ((_, extremes),) = lines(root, "training behind")
    assert len(extremes) <= plots.POINTS and max(extremes) == pytest.approx(9, abs=0.01)
    ((_, means),) = lines(root, "training")
    assert np.median(means) == pytest.approx(2, abs=0.01) and len(text) < 60_000


def test_guides_are_drawn_where_they_fit():
    run = {"training": curve([1, 3])}
    text = plots.plot("a", run, guides={"two": 2.0, "four": 4.0}, last_step=20)
    assert "two" in text and "four" not in text


def test_names_cannot_become_elements():
    root = parsed(plots.plot('<b a="', {"training": curve([1, 2])}, last_step=20))
    assert root.find("h3").text == '<b a="'


@pytest.mark.parametrize(
    ("low", "high", "log"), [(0, 1, False), (-3, 1e5, False), (1e-7, 1e7, True), (0.5, 40, True)]
)
def test_ticks_are_round_and_few(low, high, log):
    ticks = Scale(low, high, 100, 0, log).ticks()
    assert 3 <= len(ticks) <= 8 and low <= ticks[0] and ticks[-1] <= high
    assert all(len(re.sub(r"e.*|[-.]|^0.0*", "", f"{tick:g}").strip("0")) <= 3 for tick in ticks)


def test_constant_values_have_a_scale():
    for value in (0.0, -2.0, 5.0):
        ((_, found),) = lines(
            parsed(plots.plot("a", {"training": curve([value])}, last_step=10)), "training"
        )
        assert found == pytest.approx([value], abs=0.01)
