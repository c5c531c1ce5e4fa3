"""Curves of metrics: reading them from a run's metrics.jsonl, thinning them and comparing runs."""

import io
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.json
from etils import epath

from uniwav_jax.errors import UserError

# Folders of the models that ship with the package; those with metrics.jsonl are named references.
INSTALLED = pathlib.Path(__file__).parents[1] / "installed"
SEVERAL = pyarrow.json.ReadOptions(block_size=1 << 22)  # bytes that a thread reads at a time

NULL = b"-1.5e308"  # stands for null while a file is parsed
SAME = 1e-3  # share of a value up to which a difference from it does not count


class Curve(NamedTuple):
    """The values of a metric.

    Attributes:
        steps: int64 [N], numbers of updates, increasing.
        values: float64 [N]; NaN where the value was not finite.
    """

    steps: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> "Curve":
        """The points whose value is finite."""
        known = np.isfinite(self.values)
        return Curve(self.steps[known], self.values[known])


Curves = dict[str, Curve]


def read(path: str) -> Curves:
    """Read the metrics of a run, {name: curve}.

    Of a step that was written twice (by a run that was killed and resumed) the later value is used.
    An incomplete last line, as of a running or killed run, is ignored.

    Args:
        path: a workdir with metrics.jsonl, or such a file.

    Raises:
        UserError: the file is missing, has no complete line, or has a damaged line before the last.
    """
    file = epath.Path(path)
    if file.is_dir() or not file.exists():
        file = file / "metrics.jsonl"
    if not file.exists():
        raise UserError(f"{file} does not exist; give the --workdir of a run that has logged steps")
    text = file.read_bytes()
    if b"null" in text:  # a value that is not finite; Arrow does not tell it from a missing name
        text = text.replace(b": null", b": " + NULL).replace(b":null", b":" + NULL)
    whole, newline, rest = text.rpartition(b"\n")
    try:
        found = _parse(whole + newline + (rest if rest.endswith(b"}") else b""))
    except (pyarrow.ArrowInvalid, KeyError):
        found = _parse_lines(text, str(file))
    if not found:
        raise UserError(f"{file} has no complete line yet; wait for the run's first log")
    for curve in found.values():
        curve.values[curve.values == float(NULL)] = np.nan
    return {name: _sorted(curve) for name, curve in found.items()}


def reference(name: str) -> str:
    """The path of a reference, for `read`; names of models that ship are preferred to folders.

    Args:
        name: of a model that ships, or a path of `read`.

    Raises:
        UserError: there is neither.
    """
    installed = INSTALLED / name / "metrics.jsonl"
    if installed.exists():
        return str(installed)
    if not epath.Path(name).exists():
        known = ", ".join(sorted(path.parent.name for path in INSTALLED.glob("*/metrics.jsonl")))
        raise UserError(
            f"the reference {name} does not exist; give a workdir, its metrics.jsonl, or one of the"
            f" models that ship: {known}"
        )
    return name


def _parse(text: bytes) -> Curves:
    """Parse whole lines with Arrow, which takes a third of the time of Python's parser."""
    table = pyarrow.json.read_json(io.BytesIO(text), read_options=SEVERAL)
    steps, found = table["step"], {}
    if steps.null_count or not pyarrow.types.is_integer(steps.type):
        raise KeyError("step")
    numbers = steps.to_numpy()
    for name in sorted(set(table.column_names) - {"step"}):
        column = table[name]
        if pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type):
            values = column.to_numpy().astype(float)  # NaN where the name is missing
            there = ~np.isnan(values)
            found[name] = Curve(numbers[there], values[there])
    return found


def _parse_lines(text: bytes, path: str) -> Curves:
    """Parse line by line; a mistake in a line before the last one is an error that names it."""
    lines, found = text.splitlines(), {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path} line {number} is no JSON object with a 'step'; remove that line"
            ) from error
        for name, value in entry.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append((step, float(value)))
    pairs = {name: zip(*points, strict=True) for name, points in sorted(found.items())}
    return {name: Curve(np.array(s), np.array(v)) for name, (s, v) in pairs.items()}


def _sorted(curve: Curve) -> Curve:
    """Sort a curve by step and keep the last value of each step."""
    if (np.diff(curve.steps) > 0).all():
        return curve
    order = np.argsort(curve.steps, kind="stable")
    steps = curve.steps[order]
    last = np.append(np.diff(steps) > 0, True)
    return Curve(steps[last], curve.values[order][last])


def _stretches(values: np.ndarray, count: int) -> np.ndarray:
    """Values [N] in at most `count` stretches of equal length, float64 [M, L], NaN at the end."""
    length = -(-len(values) // count)
    padded = np.pad(values, (0, -len(values) % length), constant_values=np.nan)
    return padded.reshape(-1, length)


def thin(curve: Curve, most: int) -> Curve:
    """At most `most` points, with the minimum and the maximum of each stretch of the curve.

    A stretch with no finite value keeps one NaN.
    """
    if len(curve.steps) <= most:
        return curve
    values_MxL = _stretches(curve.values, most // 2)
    first_M = np.arange(len(values_MxL)) * values_MxL.shape[1]
    lowest_M = np.where(np.isnan(values_MxL), np.inf, values_MxL).argmin(1)
    highest_M = np.where(np.isnan(values_MxL), -np.inf, values_MxL).argmax(1)
    kept = np.unique([first_M + lowest_M, first_M + highest_M])
    return Curve(curve.steps[kept], curve.values[kept])


def smooth(curve: Curve, most: int) -> Curve:
    """The means of the finite values in at most `most` stretches, at the stretches' middles."""
    steps, values = curve.finite
    steps_M = np.nanmean(_stretches(steps.astype(float), most), 1)
    return Curve(steps_M.astype(int), np.nanmean(_stretches(values, most), 1))


def band(runs: Sequence[Curve], most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The range of several runs' values of a metric, between their points by interpolation.

    Returns:
        Steps int64 [M], M <= most, and the lowest and highest value there, float64 [M] each. A run
        counts where it has values, so the band ends where the longest run ends.
    """
    runs = [thin(run.finite, most) for run in runs]
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, most).astype(int))]
    values = np.stack([np.interp(steps, *run, left=np.nan, right=np.nan) for run in runs])
    return steps, np.nanmin(values, 0), np.nanmax(values, 0)


def window(curve: Curve, step: int) -> np.ndarray:
    """The finite values of the last tenth of the updates up to a step, float64 [N].

    Where there are none, as of rare evaluations, it is the value at the step by interpolation; [0]
    for a curve that begins later.
    """
    curve = curve.finite
    recent = curve.values[(curve.steps > 0.9 * step) & (curve.steps <= step)]
    if len(recent) or not len(curve.steps) or curve.steps[0] > step:
        return recent
    return np.interp([step], *curve)


class Compared(NamedTuple):
    """A metric of a run beside the same metric of references.

    Attributes:
        value: mean of the run's `window`.
        low: lowest value of the references in their windows.
        high: highest value.
    """

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the run is below, within or above the references, and by how much."""
        bound = min(max(self.value, self.low), self.high)
        gap = self.value - bound
        if abs(gap) <= SAME * abs(bound):
            return "within"
        return f"{'below' if gap < 0 else 'above'} by {abs(gap):.3g}"


def compare(run: Curve, references: Sequence[Curve], step: int) -> Compared | None:
    """Compare a metric at a step; None where the run or all references have no value by then."""
    own = window(run, step)
    others = np.concatenate([window(reference, step) for reference in references])
    if not len(own) or not len(others):
        return None
    return Compared(float(own.mean()), float(others.min()), float(others.max()))
