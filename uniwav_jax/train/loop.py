"""The training loop, which is written out in `run` from beginning to end."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import reader, store, transfer
from uniwav_jax.config import Config
from uniwav_jax.data import pipeline, plan
from uniwav_jax.errors import UserError, disk_errors
from uniwav_jax.features import SurfaceFeatures, statistics
from uniwav_jax.models import uniwav
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.parallel.group import Group
from uniwav_jax.tasks.task import Task
from uniwav_jax.train import self_check
from uniwav_jax.train import step as step_lib
from uniwav_jax.train.evaluate import Evaluator
from uniwav_jax.train.health import Health, UnhealthyRunError
from uniwav_jax.train.metrics import MetricsWriter, means
from uniwav_jax.train.progress import Progress
from uniwav_jax.types import Metrics, PyTree, TrainState


def run(config: Config, workdir: str, group: Group) -> bool:
    """Train until `config.train.steps`.

    Args:
        config: the validated configuration.
        workdir: folder of the run, local or gs://; it is created if missing.
        group: the processes of this run.

    Returns:
        True if the run is finished, False if it was preempted and saved a checkpoint.

    Raises:
        UserError: a mistake that the user can correct, in one line.
        LostProcessError: another process of `group` did not arrive at a barrier.
    """
    task = tasks.get(config.task)
    mesh = mesh_lib.make_mesh(config.mesh)
    # Orbax needs absolute paths; the address of a bucket is one already.
    workdir = epath.Path(workdir if "://" in workdir else os.path.abspath(workdir))
    lead = jax.process_index() == 0
    log = _print if lead else _silent
    workdir.mkdir(parents=True, exist_ok=True)

    labels = task.labels_of(config)
    config = labels.prepare(config, plan.local(str(workdir / "data")))
    train_plan = plan.BatchPlan(config, cache=str(workdir / "data"), labels=labels)
    for rows in train_plan.rows.values():
        mesh_lib.check_rows(rows, mesh, config.train.accumulate)
    features = _features(config, workdir)
    features_lib.check_corpora(features, [corpus.latents for corpus in train_plan.corpora])
    bad_files = pipeline.BadFileReport(str(workdir / "bad_files.tsv"), config.data)
    self_check.run(group, config, mesh, train_plan, features, workdir, log)

    with (
        jax.set_mesh(mesh),
        contextlib.ExitStack() as closing,
        group.reporting(),
        disk_errors(str(workdir)),
    ):
        checkpoints = store.manager(workdir, config)
        closing.callback(store.close, checkpoints)
        # The order matters: a checkpoint of this run takes precedence over init_from, and
        # init_from over fresh parameters.
        resuming = checkpoints.latest_step() is not None
        feature_params = _feature_params(config, features, train_plan, bad_files, known=resuming)
        state, shardings = step_lib.init_state(task, config, features, feature_params, mesh)
        taken: frozenset[str] = frozenset()  # entries of the task's state taken from `init_from`
        if resuming:
            abstract = jax.eval_shape(lambda: state)
            state, meta = store.restore(checkpoints, abstract, shardings, config)
            group.barrier("checkpoint restored")
            log(f"resuming at step {int(state.step)} of {config.train.steps}")
            _compare_data(meta["data"], train_plan.fingerprint(), log)
        elif config.init_from:
            state, report, taken = transfer.init_from(state, shardings, config)
            log("\n".join(report))
        first = int(state.step)
        if lead:
            (workdir / "config.json").write_text(config.to_json())
        for line in _introduction(task, config, features, state, mesh, train_plan):
            log(line)

        writer = MetricsWriter(str(workdir), enabled=lead)
        closing.callback(writer.close)
        writer.truncate_after(first)
        evaluator = Evaluator(task, config, features, mesh, workdir, writer)
        for line in evaluator.summary():
            log(line)
        progress = Progress(config.train.steps, first, task.headline, enabled=lead)
        closing.callback(progress.close)
        meter = Meter(config, writer, progress)
        host_rows = {b: mesh_lib.host_rows(mesh, rows) for b, rows in train_plan.rows.items()}
        loader = pipeline.make_loader(
            config, train_plan, host_rows=host_rows, start=first, context=features.context
        )
        closing.callback(loader.close)
        train_step = step_lib.make_train_step(task, config, features, mesh, shardings)
        profile = closing.enter_context(_profiler(config, workdir))

        # The order is fixed and tested: evaluate the state and save it; only then take the next
        # batch, update, and log the metrics of the update before, which are ready by now.
        for step in range(first, config.train.steps + 1):
            group.beat(f"step {step}")
            last = step == config.train.steps
            if step > first:
                store.check(checkpoints)
                _evaluate(config, evaluator, step, state, last, group)
                preempted = checkpoints.reached_preemption(step)
                if last or preempted or step % config.checkpoint.every == 0:
                    meter.flush()
                    store.save(
                        checkpoints, state, config, train_plan.fingerprint(), features.described
                    )
                    group.barrier(f"checkpoint of step {step}")
                if preempted:
                    store.finish(checkpoints)
                    log(f"preempted: step {step} saved; the same command continues")
                    return False
            if last:
                break
            profile(step)
            waited = time.perf_counter()
            item = next(loader)
            waited = time.perf_counter() - waited
            bad_files.add(item)
            batch = mesh_lib.to_global(item, mesh, train_plan.rows[item["bucket"]])
            if step == 0 and set(state.state) - taken:
                start = step_lib.make_start_step(task, config, features, shardings, taken)
                state = start(state, batch)
            state, metrics = train_step(state, batch)
            meter.add(step + 1, metrics, waited)
    log(finished_line(first, config.train.steps, workdir))
    return True


def finished_line(first: int, steps: int, workdir: epath.Path) -> str:
    """The last line of a run of `steps` updates, which started at step `first`."""
    if first > steps:
        return f"step {first} is saved, beyond train.steps={steps}: nothing to do; see {workdir}"
    return f"finished {steps} steps; see {workdir}"


class Meter:
    """Turns metrics on the device into lines of means over `train.log_every` updates.

    A line is written one update after its last one, so that the loop does not wait for the device.
    Means exclude skipped updates (`means`); counts and speed include them.
    """

    def __init__(self, config: Config, writer: MetricsWriter, progress: Progress) -> None:
        self._every, self._writer, self._progress = config.train.log_every, writer, progress
        self._health = Health(config)
        self._window: list[Metrics] = []
        self._ready: tuple[int, list[Metrics], float] | None = None
        self._waited, self._since = 0.0, time.perf_counter()

    def add(self, step: int, metrics: Metrics, waited: float) -> None:
        """Add the metrics of update number `step`; the loop waited `waited` seconds for data."""
        self.flush()
        self._window.append(metrics)
        self._waited += waited
        if step % self._every == 0:
            self._ready = (step, self._window, self._waited)
            self._window, self._waited = [], 0.0

    def flush(self) -> None:
        """Write the finished window, if there is one; this waits for the device."""
        if self._ready is None:
            return
        step, window, waited = self._ready
        self._ready = None
        values = jax.device_get(window)
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        line = means(values)
        line["skipped"] = int(values[-1]["skipped"])
        line["skipped_in_a_row"] = int(max(v["skipped_in_a_row"] for v in values))
        line["bad_rows"] = int(sum(v["bad_rows"] for v in values))
        line["audio_seconds"] = float(sum(v["audio_seconds"] for v in values))
        line["audio_seconds_per_second"] = line["audio_seconds"] / elapsed
        line["input_wait"] = min(waited / elapsed, 1.0)
        self._writer.write(step, line)
        self._progress.update(step, line)
        first = step - len(values) + 1
        skipped = [first + i for i, v in enumerate(values) if v["skipped_in_a_row"]]
        try:
            warnings = self._health.check(step, line, skipped=skipped)
        except UnhealthyRunError as error:
            self._writer.alarm(step, str(error))
            raise
        for warning in warnings:
            self._writer.alarm(step, warning)
            self._progress.message(f"warning: {warning}")


def _evaluate(
    config: Config, evaluator: Evaluator, step: int, state: TrainState, last: bool, group: Group
) -> None:
    if last or step % config.evaluate.every == 0:
        evaluator.measure(step, state)
        group.barrier(f"evaluation of step {step}")
    sample_every = config.evaluate.sample_every
    if sample_every and evaluator.samples and (last or step % sample_every == 0):
        evaluator.render(step, state)
        group.barrier(f"samples of step {step}")


def _features(config: Config, workdir: epath.Path) -> SurfaceFeatures:
    """The surface features. A codec comes from the checkpoint if there is one.

    The codec's folder may therefore be deleted once there is a checkpoint.
    """
    newest = reader.newest(workdir) if config.features.kind == "codec" else None
    if newest is None or not newest.meta.get("codec"):
        return features_lib.build(config.features)
    if epath.Path(config.features.codec).exists():
        given = features_lib.build(config.features)
        if given.described["digest"] != newest.meta["codec"]["digest"]:
            raise UserError(
                f"config.features.codec: {config.features.codec} contains another codec than the"
                f" one that checkpoint {newest.folder} was trained with; name that one, or choose"
                " another --workdir"
            )
    return newest.features()


def _feature_params(
    config: Config,
    features: SurfaceFeatures,
    train_plan: plan.BatchPlan,
    bad_files: pipeline.BadFileReport,
    *,
    known: bool,
) -> PyTree:
    """The features' weights and statistics {"mean" [C], "std" [C], ...}.

    They are placeholders if the checkpoint has them (`known`); otherwise they are read from
    `features.stats` or measured.
    """
    if known:
        measured = {"mean": np.zeros(features.channels), "std": np.ones(features.channels)}
    elif config.features.stats:
        measured = statistics.load(config.features.stats, config.features)
    else:
        measured = measure_features(config, features, train_plan, bad_files)
        # Every process measured the same clips; all use the result of one, to the last bit.
        measured = multihost_utils.broadcast_one_to_all(measured)
    return {**measured, **features.weights}


def measure_features(
    config: Config,
    features: SurfaceFeatures,
    train_plan: plan.BatchPlan,
    bad_files: pipeline.BadFileReport,
) -> PyTree:
    """Measure {"mean" [C], "std" [C]} on the first `features.stats_seconds` s of the batches."""
    every_row = {bucket: np.arange(rows) for bucket, rows in train_plan.rows.items()}
    loader = pipeline.make_loader(
        config, train_plan, host_rows=every_row, start=0, context=features.context
    )

    def batches() -> Iterator[dict]:
        for item in loader:
            bad_files.add(item)
            yield item

    try:
        return statistics.measure(features, batches(), config.features.stats_seconds)
    finally:
        loader.close()


def _compare_data(then: dict, now: dict, log: Callable[[str], None]) -> None:
    changed = [name for name in now if then.get(name) != now[name]]
    if "order_of_batches" in changed:
        changed.remove("order_of_batches")
        log(
            "note: another version of this package wrote the checkpoint; it divided the data into"
            " other batches, so this run differs from an uninterrupted one"
        )
    if changed:
        log(f"note: the training data changed since the checkpoint ({', '.join(changed)})")


def _introduction(
    task: Task,
    config: Config,
    features: SurfaceFeatures,
    state: TrainState,
    mesh: Mesh,
    train_plan: plan.BatchPlan,
) -> Iterator[str]:
    device = mesh.devices.flat[0]
    sizes = " x ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    yield (
        f"devices: {mesh.size} x {device.device_kind}, mesh {sizes},"
        f" processes {jax.process_count()}"
    )
    counts = uniwav.parameter_counts(state.params)
    yield "parameters: " + ", ".join(f"{name} {n / 1e6:.1f}M" for name, n in counts.items())
    for name, value in train_plan.summary().items():
        yield f"data: {name}: {value}"
    yield from task.describe(config, channels=features.channels, frame_rate=features.frame_rate)


@contextlib.contextmanager
def _profiler(config: Config, workdir: epath.Path) -> Iterator[Callable[[int], None]]:
    """A function to call before each step, which records five steps from `train.profile_at` on."""
    first, running = config.train.profile_at, False

    def before(step: int) -> None:
        nonlocal running
        if step == first:
            jax.profiler.start_trace(str(workdir / "profile"))
            running = True
        elif running and step == first + 5:
            jax.profiler.stop_trace()
            running = False

    try:
        yield before
    finally:
        if running:
            jax.profiler.stop_trace()


def _print(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    del text
