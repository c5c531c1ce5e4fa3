"""Evaluation during training: losses and scores on held-out speech, and rendered samples."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from uniwav_jax.audio.writer import write_audio
from uniwav_jax.config import Config
from uniwav_jax.data import pipeline, plan
from uniwav_jax.features import SurfaceFeatures, check_corpora
from uniwav_jax.measures import signal
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.tasks.task import Task
from uniwav_jax.train import pictures
from uniwav_jax.train import step as step_lib
from uniwav_jax.train.metrics import MetricsWriter
from uniwav_jax.types import Batch, TrainState


class Evaluator:
    """Measures losses on `data.eval_manifest` and renders samples.

    Batches and masks are the same each time. Without `data.eval_manifest` nothing is measured, and
    samples are rendered from training clips.
    """

    def __init__(
        self,
        task: Task,
        config: Config,
        features: SurfaceFeatures,
        mesh: Mesh,
        workdir: epath.Path,
        writer: MetricsWriter,
    ) -> None:
        self._task, self._features, self._mesh = task, features, mesh
        self.samples = task.samples is not None
        self._workdir, self._writer = workdir, writer
        held_out = config.data.eval_manifest
        manifest = held_out or config.data.manifest
        data = dataclasses.replace(config.data, manifest=manifest, speeds=(1.0,))
        if held_out:
            data = dataclasses.replace(data, weights="")
        self._config = dataclasses.replace(config, data=data, seed=0)
        self._held_out = bool(held_out)
        labels = task.labels_of(self._config)
        self._plan = plan.BatchPlan(self._config, cache=str(workdir / "data"), labels=labels)
        check_corpora(features, [corpus.latents for corpus in self._plan.corpora])
        for rows in self._plan.rows.values():
            mesh_lib.check_rows(rows, mesh, config.train.accumulate)
        self._eval_step = step_lib.make_eval_step(task, self._config, features, mesh)
        self._sample_step = step_lib.make_sample_step(task, self._config, features, mesh)

    def summary(self) -> Iterator[str]:
        """Lines about the held-out speech, for the start of a run."""
        if self._held_out:
            lines = self._plan.summary()
            yield from (
                f"held-out speech {c.source}: {lines[c.source]}" for c in self._plan.corpora
            )

    def _batches(self, planned: plan.OncePlan) -> Iterator[Batch]:
        rows = {b: mesh_lib.host_rows(self._mesh, n) for b, n in self._plan.rows.items()}
        loader = pipeline.make_loader(
            self._config, planned, host_rows=rows, start=0, context=self._features.context
        )
        try:
            for item in loader:
                yield mesh_lib.to_global(item, self._mesh, self._plan.rows[item["bucket"]])
        finally:
            loader.close()

    def measure(self, step: int, state: TrainState) -> dict[str, float]:
        """Write the mean losses over held-out speech, with the prefix eval_, and return them.

        Each segment counts once; `evaluate.batches` limits them to a sample that is the same each
        time. Scores of the task (`Task.score`), such as error rates, are added, and their table is
        written to a folder of the workdir. "eval_clips_left_out" counts the clips that cannot be
        used, such as those with symbols that the model does not know, and those that cannot be
        read.

        Returns:
            {"eval_" + name: value}; {} without held-out speech.
        """
        if not self._held_out:
            return {}
        total, found, unreadable = None, {}, set()
        once = self._plan.once(self._config.evaluate.batches)
        for index, batch in enumerate(self._batches(once)):
            sums, outputs = self._eval_step(state, batch, jnp.asarray(index))
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
            planned, outputs = once[index], jax.tree.map(np.asarray, outputs)
            bad_B = outputs.pop("bad")
            for row in np.flatnonzero(planned.clip >= 0):
                clip = int(planned.corpus[row]), int(planned.clip[row])
                if bad_B[row]:
                    unreadable.add(clip)
                elif outputs:
                    found[clip] = jax.tree.map(lambda a, row=row: a[row], outputs)
        # The operations that follow run one by one. On a CPU with several devices they can wait for
        # ever if they are started while the collectives of the last batch are still running.
        total = self._task.mean(jax.block_until_ready(total))
        metrics = self._task.metrics(total, state.step, self._config)
        # `device_get` reads one device only. Without waiting for all of its devices, this process
        # could end while other processes still need them.
        metrics = jax.device_get(jax.block_until_ready(metrics))
        metrics.pop("teacher_decay", None)
        if found:
            scores = self._task.score(found, self._plan.corpora, self._config)
            metrics |= scores.metrics
            if scores.table and jax.process_index() == 0:
                folder = self._workdir / scores.folder
                folder.mkdir(parents=True, exist_ok=True)
                lines = "".join("\t".join(row) + "\n" for row in scores.table)
                (folder / f"step_{step:07d}.tsv").write_text(lines)
        unused = sum(map(len, self._plan.corpora)) - self._plan.clips
        metrics["clips_left_out"] = unused + len(unreadable)
        metrics = {f"eval_{name}": float(value) for name, value in metrics.items()}
        self._writer.write(step, metrics)
        return metrics

    def render(self, step: int, state: TrainState) -> None:
        """Write pictures and WAV files of `Task.samples` to workdir/samples/step_<n>."""
        for batch in self._batches(self._plan.once(1)):
            rendered = jax.block_until_ready(self._sample_step(state, batch))
        if jax.process_index() != 0:
            return
        rendered = jax.device_get(rendered)
        features = self._features
        folder = self._workdir / "samples" / f"step_{step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        scores: list[dict[str, float]] = []
        for row, frames in enumerate(rendered["frames"]):
            if frames == 0:
                continue
            panels = {
                name: np.asarray(features.picture(x[row, :frames]))
                for name, x in rendered["features"].items()
            }
            picture = folder / f"clip{row}.png"
            seconds = frames / features.frame_rate
            pictures.spectrogram_figure(panels, picture, seconds=seconds)
            self._writer.picture(step, f"clip{row}", picture)
            waves = {
                name: np.asarray(audio[row, : frames * features.hop])
                for name, audio in rendered["audio"].items()
            }
            if self._task.compared:
                pair = (waves[name] for name in self._task.compared)
                scores.append(signal.scores(*pair, sample_rate=features.sample_rate))
            for name, wave in waves.items():
                with (folder / f"clip{row}_{name}.wav").open("wb") as file:
                    write_audio(file, [wave], sample_rate=features.sample_rate)
                self._writer.audio(step, f"clip{row}_{name}", wave, features.sample_rate)
        if scores:
            means = signal.means(scores, signal.measures(features.sample_rate))
            values = {name: mean.mean for name, mean in means.items() if mean.mean is not None}
            values |= {f"{name}_clips": mean.clips for name, mean in means.items()}
            self._writer.write(step, {f"eval_{name}": value for name, value in values.items()})
