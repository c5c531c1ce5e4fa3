"""The definition of a task: one frozen value of functions that the rest of the program calls.

    init -> warm_start (first batch) -> per update: draw, weight, loss (per microbatch), update,
    metrics -> per evaluation: loss, mean, metrics, score -> samples -> exports

To add a task, write a module with such a value and name it in tasks/__init__.py. A value outside
the package is named in the configuration, `task="module:VALUE"`.
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

FOREVER = math.inf  # as a number of frozen updates: the part is frozen for the whole run


@dataclasses.dataclass(frozen=True)
class Columns:
    """Arrays whose last axis has one column per symbol, and a function that matches two alphabets.

    Attributes:
        arrays: paths in `TrainState`.
        match: (fields of the other run's configuration by name, this run's configuration) ->
            (columns, notes for the user). `columns` is int [V]: for each column of this run the
            number of the column of the same symbol in the other run, or -1 if there is none. It is
            None if no column can be taken and the part starts from fresh values.
    """

    arrays: tuple[str, ...]
    match: Callable[[Mapping[str, Any], Config], tuple[np.ndarray | None, list[str]]]


@dataclasses.dataclass(frozen=True)
class Part:
    """Arrays of a model that belong together; `config.init_parts` takes them by name.

    Attributes:
        arrays: their paths in `TrainState`.
        fields: fields and groups of the configuration that determine what the arrays mean.
        needs: paths that the other run must have; without them its part is useless, and the part
            starts from fresh values.
        columns: the arrays whose columns are matched symbol by symbol, if there are any.
    """

    arrays: tuple[str, ...]
    fields: tuple[str, ...]
    needs: tuple[str, ...] = ()
    columns: Columns | None = None


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A limit of a metric, beyond which the run is reported as unhealthy.

    Attributes:
        metric: name in a line of metrics. A line without it is not checked for this alarm.
        above: True if values above the limit are unhealthy, False if values below it are.
        field: field of `HealthConfig` with the limit.
        text: warning and advice, a format string of {value} and {limit}.
        unit: config -> factor by which the field's value is multiplied to give the limit.
        applies: config -> whether a run of this configuration can have this fault.
        grace: config -> number of updates after `health.grace_steps` in which the alarm is still
            off, because healthy runs may start beyond the limit; None: it is on from the start.
        stops: whether `health.patience` alarms in a row stop the run.
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
    """Results of an evaluation besides the losses.

    Attributes:
        metrics: {name: value}; they are written with the prefix eval_.
        folder: name of the folder in the workdir in which the table is written.
        table: header and rows of a TSV file, or () for none.
    """

    metrics: dict[str, float]
    folder: str = ""
    table: Sequence[Sequence[str]] = ()


# {(number of the corpus, number of the clip in it): {name: array [...] of that row}}.
Outputs = dict[tuple[int, int], dict[str, np.ndarray]]


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


def _never(config: Config) -> bool:
    return False


def _no_scores(outputs: Outputs, corpora: Sequence[Manifest], config: Config) -> Scores:
    return Scores({})


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that the rest of the program needs to know about one training task.

    In the signatures below, `key` is a random key and `config` the `Config`; `example` (`Example`)
    and `draws` contain rows of the global batch or of a microbatch. `sums` is a tree of float32
    arrays that are added up over microbatches and batches; each task's `loss` documents its keys
    and shapes. A path is a place in `TrainState` such as "params/encoder".

    Attributes:
        name: value of `config.task`.
        init: (key, config, channels) -> fresh (params, state); `channels` is C of the features.
        draw: (key, example, config) -> the random choices of an update, a tree of arrays [B, ...].
            They are drawn for the whole global batch, so that the result does not depend on its
            division into microbatches.
        loss: (variables, example, draws, weight, key, config) -> (this microbatch's share of the
            loss [], sums). The task stops the gradient of the sums. In evaluation `key` is None,
            which switches dropout off, and the sums may contain "outputs", {name: array [B, ...]},
            which `score` receives.
        mean: sums over evaluation batches, computed with weight 1 -> the sums that one batch with
            the right weight would give.
        metrics: (sums, step, config) -> {name: []}; "loss" is one of the names.
        weight: (example, draws) -> the divisor of the summed losses of the global batch, float32
            []; by default the number of rows that are not empty.
        update: (variables with the new params, sums, step, config) -> the new state.
        warm_start: (key, variables, example, config, add_up) -> the state at the start of training,
            computed from the first batch. Entries that `config.init_from` filled in keep their
            values. `add_up(function, rows)` calls `function(*rows)` on microbatches of `rows` and
            adds up the results.
        labels: the arrays that an example has besides features, or a function of the configuration
            that returns them; the program calls `labels_of`.
        reads_mfcc: config -> whether the examples have the label "mfcc", float32 [B, T, 39].
        freezes: config -> {part of params: number of updates for which it is frozen, or
            `FOREVER`}. The optimizer has no moments for parts that are frozen for the whole run.
        averages: config -> {part of params: decay of its running average per update}.
        copies: {path: path of the parameters of which it is a copy at the start}, besides those of
            `averages`.
        parts: {name: `Part`} of the model, for `config.init_parts` and for resuming.
        samples: (variables, example, key, config) -> {name: features [B, T, C]} that an evaluation
            renders as pictures and audio; None if the task has no samples.
        compared: names of two samples, the reference first, whose waveforms are compared by PESQ,
            STOI and other measures; () for none.
        score: (outputs by clip, corpora, config) -> `Scores`.
        describe: (config, channels=, frame_rate=) -> lines that are printed at the start of a run;
            `frame_rate` is in Hz.
        flops: (config, channels, frame_rate) -> model FLOPs of an update per second of audio; None
            if they are not known.
        alarms: alarms of the health check, besides those of every run.
        headline: (metric, format) pairs that the progress line shows.
        logits: (params, x_BxTxC, frames_B, config) -> logits of the blank and the symbols, float32
            [B, T, V]; None if the task does not recognise text.
        exports: (encoder, decoder) -> {name in the export: path} for PyTorch; `encoder` is
            "student" or "teacher", `decoder` "average" or "trained". None if the task cannot be
            exported to PyTorch.
        export_groups: groups of the configuration that an export copies into its config.json.
        export_documents: config -> {name of a JSON file of an export: fields to add to it}.
        Options: dataclass with the configuration of a task outside the package; its instance is
            `config.options`.
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
    labels: Labels | Callable[[Config], Labels] = NONE
    reads_mfcc: Callable[[Config], bool] = _never
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

    def labels_of(self, config: Config) -> Labels:
        """The arrays that an example has besides features in runs of this configuration."""
        return self.labels if isinstance(self.labels, Labels) else self.labels(config)

    def follows(self, config: Config) -> dict[str, str]:
        """{path of a copy: path of the parameters that it is a copy of at the start}."""
        averages = {f"ema/{part}": f"params/{part}" for part in self.averages(config)}
        return {**self.copies, **averages}
