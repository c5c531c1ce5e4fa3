"""What a task is: one frozen value of functions, which training, evaluation and export call.

    init -> warm_start (first batch) -> per update: draw, weight, loss (per microbatch), update,
    metrics -> per evaluation: loss, mean, metrics, score -> samples -> exports

A task is added by writing a module with such a value and naming it in tasks/__init__.py; a value
that lies outside the package is named in the configuration, `task="module:VALUE"`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.data.labels import NONE, Labels
from uniwav_jax.data.manifest import Manifest
from uniwav_jax.types import AddUp, Example, Metrics, PyTree, Variables

FOREVER = math.inf  # updates for which a part is frozen: all


@dataclasses.dataclass(frozen=True)
class Columns:
    """Arrays whose last axis has one column per symbol, and how two alphabets are matched.

    Attributes:
        arrays: paths in `TrainState`.
        match: (fields of the other run's configuration by name, this run's configuration) ->
            (for each column here the number of the same column there or -1, int [V]; or None if
            the part has to start anew), and notes for the user.
    """

    arrays: tuple[str, ...]
    match: Callable[[Mapping[str, Any], Config], tuple[np.ndarray | None, list[str]]]


@dataclasses.dataclass(frozen=True)
class Part:
    """Arrays of a model that belong together; `config.init_parts` takes them by name.

    Attributes:
        arrays: their places in `TrainState`.
        fields: fields and groups of the configuration that decide what the arrays mean.
        needs: places without which the other run's part is of no use, and a new one starts.
        columns: the arrays whose columns are matched symbol by symbol, if there are such.
    """

    arrays: tuple[str, ...]
    fields: tuple[str, ...]
    needs: tuple[str, ...] = ()
    columns: Columns | None = None


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A metric that must not pass a limit.

    Attributes:
        metric: name in a line of metrics. A line without it is not checked for this alarm.
        above: True where values above the limit are alarming, False where values below are.
        field: field of `HealthConfig` that holds the limit.
        text: warning and advice; a format of {value} and {limit}.
        unit: what the field's value is a multiple of.
        applies: whether a run of this configuration can have this fault.
        grace: the alarm waits for `health.grace_steps` and these updates more, because healthy runs
            may start so; None: it does not wait at all.
        stops: `health.patience` alarms in a row stop the run.
    """

    metric: str
    above: bool
    field: str
    text: str
    unit: Callable[[Config], float] = lambda config: 1.0
    applies: Callable[[Config], bool] = lambda config: True
    grace: Callable[[Config], int] | None = lambda config: 0
    stops: bool = True


@dataclasses.dataclass(frozen=True)
class Scores:
    """What an evaluation finds beside the losses.

    Attributes:
        metrics: {name: value}; written with the prefix eval_.
        folder: name of the folder of the workdir that the table goes to.
        table: header and rows of a TSV file, or () for none.
    """

    metrics: dict[str, float]
    folder: str = ""
    table: Sequence[Sequence[str]] = ()


Outputs = dict[tuple[int, int], dict[str, np.ndarray]]  # by (corpus, clip)


def _weight_rows(example: Example, draws: PyTree) -> jax.Array:
    del draws
    return jax.numpy.maximum((example.frames_B > 0).sum(), 1).astype(jax.numpy.float32)


def _keep_state(variables: Variables, *_: Any) -> PyTree:
    return variables.state


def _keep_start(key: jax.Array, variables: Variables, *_: Any) -> PyTree:
    return variables.state


def _empty(*_: Any, **__: Any) -> dict[str, Any]:
    return {}


def _lines(*_: Any, **__: Any) -> list[str]:
    return []


def _no_scores(outputs: Outputs, corpora: Sequence[Manifest], config: Config) -> Scores:
    return Scores({})


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained, and everything about it that the rest of the program asks for.

    `key` is a random key, `config` the configuration; `example` and `draws` hold rows of the global
    batch or of a microbatch. Sums are trees of arrays that add up over microbatches and batches.

    Attributes:
        name: value of `config.task`.
        init: (key, config, channels) -> (params, state), fresh.
        draw: (key, example, config) -> the random choices of an update for the global batch, a tree
            of arrays [B, ...]. They are drawn at once, so that microbatches see what the undivided
            batch would have seen.
        loss: (variables, example, draws, weight, key, config) -> (this microbatch's share of the
            loss [], sums). `key` is None in evaluation: no dropout. In evaluation the sums may
            have "outputs", {name: array [B, ...]}, which `score` receives. Their gradients are
            stopped by the task.
        mean: sums over evaluation batches, of weight 1 -> sums as one batch of the right weight
            would give them.
        metrics: (sums, step, config) -> scalars by name; "loss" is one of them.
        weight: (example, draws) -> what the summed losses of the global batch are divided by, [].
        update: (variables with the new params, sums, step, config) -> the new state.
        warm_start: (key, variables, example, config, add_up) -> the state as training begins, from
            the first batch; what `config.init_from` brought stays as it is. `add_up(function,
            rows)` calls `function(*rows)` on microbatches of `rows` and adds up its results.
        labels: what an example has beside features.
        freezes: config -> {part of params: updates for which it is frozen, or `FOREVER`}. Parts
            that are frozen for good have no moments in the optimizer.
        averages: config -> {part of params: decay of its running average}.
        copies: {place in `TrainState`: place of the parameters that it starts as a copy of}, beside
            those of `averages`.
        parts: names of the model's parts, for `config.init_parts` and resuming.
        samples: (variables, example, key, config) -> {name: features [B, T, C]} to look at and
            listen to; None where there is nothing.
        compared: names of two of the samples, reference first, which PESQ, STOI and the like
            compare; () for none.
        score: (outputs by clip, corpora, config) -> `Scores`.
        describe: (config, channels=, frame_rate=) -> lines for the start of a run.
        flops: (config, channels, frame_rate) -> model FLOPs of an update per second of audio; None
            where nobody counted them.
        alarms: what the health check looks at, beside what all runs have.
        headline: (metric, format) pairs that the progress line shows.
        logits: (params, x_BxTxC, frames_B, config) -> scores of blank and symbols [B, T, V]; None
            where nothing is recognised.
        exports: (encoder, decoder) -> {name in the export: place in `TrainState`} for PyTorch;
            `encoder` is "student" or "teacher", `decoder` "average" or "trained". None: the task
            has no export for PyTorch.
        export_groups: groups of the configuration that config.json of an export repeats.
        export_documents: config -> {JSON file of an export: fields to add to it}.
        Options: dataclass of the task's own configuration, for tasks outside the package; its
            values are `config.options`.
    """

    name: str
    init: Callable[[jax.Array, Config, int], tuple[PyTree, PyTree]]
    loss: Callable[..., tuple[jax.Array, PyTree]]
    metrics: Callable[[PyTree, jax.Array, Config], Metrics]
    mean: Callable[[PyTree], PyTree]
    draw: Callable[[jax.Array, Example, Config], PyTree] = _empty
    weight: Callable[[Example, PyTree], jax.Array] = _weight_rows
    update: Callable[[Variables, PyTree, jax.Array, Config], PyTree] = _keep_state
    warm_start: Callable[[jax.Array, Variables, Example, Config, AddUp], PyTree] = _keep_start
    labels: Labels = NONE
    freezes: Callable[[Config], Mapping[str, float]] = _empty
    averages: Callable[[Config], Mapping[str, float]] = _empty
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    samples: Callable[[Variables, Example, jax.Array, Config], dict[str, jax.Array]] | None = None
    compared: tuple[str, ...] = ()
    score: Callable[[Outputs, Sequence[Manifest], Config], Scores] = _no_scores
    describe: Callable[..., list[str]] = _lines
    flops: Callable[[Config, int, float], float] | None = None
    alarms: tuple[Alarm, ...] = ()
    headline: tuple[tuple[str, str], ...] = (("loss", "loss {:.3f}"),)
    logits: Callable[..., jax.Array] | None = None
    exports: Callable[[str, str], dict[str, str]] | None = None
    export_groups: tuple[str, ...] = ()
    export_documents: Callable[[Config], dict[str, Any]] = _empty
    Options: type | None = None

    def follows(self, config: Config) -> dict[str, str]:
        """{running average: parameters that it starts as a copy of}, places in `TrainState`."""
        averages = {f"ema/{part}": f"params/{part}" for part in self.averages(config)}
        return {**self.copies, **averages}
