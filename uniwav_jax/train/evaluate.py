"""Held-out losses at intervals, and samples to look at and listen to."""

import dataclasses
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from uniwav_jax import distributed
from uniwav_jax.config import Config
from uniwav_jax.data import pipeline, plan
from uniwav_jax.evaluation import signal
from uniwav_jax.features import SurfaceFeatures, check_corpora
from uniwav_jax.train import pictures
from uniwav_jax.train import step as step_lib
from uniwav_jax.train.metrics import MetricsWriter
from uniwav_jax.types import TrainState


class Evaluator:
    """Measures `data.eval_manifest` (the same batches and masks each time) and renders samples."""

    def __init__(
        self,
        task: ModuleType,
        config: Config,
        features: SurfaceFeatures,
        mesh: Mesh,
        workdir: epath.Path,
        writer: MetricsWriter,
    ) -> None:
        self._task, self._features, self._mesh = task, features, mesh
        self._workdir, self._writer = workdir, writer
        held_out = config.data.eval_manifest
        data = dataclasses.replace(config.data, manifest=held_out or config.data.manifest)
        if held_out:
            data = dataclasses.replace(data, weights="")
        self._config = dataclasses.replace(config, data=data, seed=0)
        self._held_out = bool(held_out)
        self._plan = plan.BatchPlan(self._config, cache=str(workdir / "data"))
        check_corpora(config.features, [corpus.latents for corpus in self._plan.corpora])
        for rows in self._plan.rows.values():
            distributed.check_rows(rows, mesh, 1)
        self._eval_step = step_lib.make_eval_step(task, self._config, features, mesh)
        self._sample_step = step_lib.make_sample_step(task, self._config, features, mesh)

    def _batches(self, count: int):  # noqa: ANN202
        rows = {b: distributed.host_rows(self._mesh, n) for b, n in self._plan.rows.items()}
        loader = pipeline.make_loader(
            self._config, self._plan, host_rows=rows, start=0, context=self._features.context
        )
        try:
            for _ in range(count):
                item = next(loader)
                yield distributed.to_global(item, self._mesh, self._plan.rows[item["bucket"]])
        finally:
            loader.close()

    def measure(self, step: int, state: TrainState) -> dict[str, float]:
        """Mean losses over `evaluate.batches` held-out batches, written with the prefix eval_."""
        if not self._held_out:
            return {}
        total = None
        for index, batch in enumerate(self._batches(self._config.evaluate.batches)):
            sums = self._eval_step(state, batch, jnp.asarray(index))
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        total = self._task.average(total)
        metrics = jax.device_get(self._task.metrics(total, state.step, self._config))
        metrics.pop("teacher_decay", None)
        metrics = {f"eval_{name}": float(value) for name, value in metrics.items()}
        self._writer.write(step, metrics)
        return metrics

    def render(self, step: int, state: TrainState) -> None:
        """Pictures and wavs under workdir/samples/step_<n>: real, masked and generated speech."""
        for batch in self._batches(1):
            rendered = self._sample_step(state, batch)
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
            if self._task.SCORED:
                pair = (waves[name] for name in self._task.SCORED)
                scores.append(signal.scores(*pair, sample_rate=features.sample_rate))
            for name, wave in waves.items():
                pictures.write_wav(folder / f"clip{row}_{name}.wav", wave, features.sample_rate)
                self._writer.audio(step, f"clip{row}_{name}", wave, features.sample_rate)
        if scores:
            names = sorted({name for score in scores for name in score})
            means = {n: np.mean([score[n] for score in scores if n in score]) for n in names}
            self._writer.write(step, {f"eval_{name}": float(m) for name, m in means.items()})
