"""Alarms for what ruins such runs: collapsed clusters or teacher, explosions, starved input.

Bands come from the published curves (docstring of `HealthConfig`): in DinoSR's run the target
perplexity passes 80 at the start and 170 after 2.5k steps and the encoder loss never falls below
1; a loss near 0.2 goes with a collapsed teacher.
"""

import math
from collections.abc import Sequence

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError


class UnhealthyRunError(UserError):
    """The run was stopped because going on would waste the machine."""


class Health:
    """Looks at every line of metrics; warns, and stops a run that stays ill."""

    def __init__(self, config: Config) -> None:
        self._config = config.health
        self._max_skipped = config.train.max_skipped
        self._seed = config.seed
        self._in_a_row: dict[str, int] = {}

    def check(self, step: int, line: dict[str, float], *, skipped: Sequence[int] = ()) -> list[str]:
        """Warnings about the metrics of `step`; `skipped` are the updates that were not finite.

        Raises:
            UnhealthyRunError: `train.max_skipped` non-finite updates in a row, or one alarm
                `health.patience` times in a row.
        """
        warnings = []
        if skipped:
            numbers = ", ".join(map(str, skipped))
            warnings.append(
                f"update {numbers} was not finite and was skipped ({line['skipped']:.0f} in all);"
                f" it replays from the last checkpoint with config.seed={self._seed}: batch and"
                " random numbers follow from the seed and the update's number"
            )
        if line["skipped_in_a_row"] >= self._max_skipped:
            raise UnhealthyRunError(
                f"stopped at step {step}: {line['skipped_in_a_row']:.0f} updates in a row gave NaN"
                " or infinity; lower config.optim.lr, use --config.model.compute_dtype=float32, or"
                " look at the data with tools/check_data.py; the last checkpoint is sound"
            )
        if not self._config.enabled or step < self._config.grace_steps:
            return warnings
        alarms = dict(self._alarms(line))
        self._in_a_row = {name: self._in_a_row.get(name, 0) + 1 for name in alarms}
        warnings += [f"step {step}: {text}" for text in alarms.values()]
        for name, text in alarms.items():
            if name != "input_wait" and self._in_a_row[name] >= self._config.patience:
                raise UnhealthyRunError(
                    f"stopped at step {step} after {self._in_a_row[name]} alarms in a row: {text};"
                    " --config.health.enabled=False lets it run on"
                )
        return warnings

    def _alarms(self, line: dict[str, float]):  # noqa: ANN202
        config = self._config

        def below(name: str, limit: float) -> bool:
            return name in line and math.isfinite(line[name]) and line[name] < limit

        if below("target_perplexity", config.min_target_perplexity):
            yield (
                "target_perplexity",
                f"target perplexity {line['target_perplexity']:.1f} is below"
                f" {config.min_target_perplexity:g}: the clusters collapse; lower the learning"
                " rate, take larger batches, or set distillation.prediction=spidr",
            )
        if below("loss_encoder", config.min_encoder_loss):
            yield (
                "loss_encoder",
                f"encoder loss {line['loss_encoder']:.2f} is below {config.min_encoder_loss:g}:"
                " the teacher has become trivial; raise its decay (distillation.teacher_decay_*)"
                " and check that the data is not silence",
            )
        if below("target_variance_min", config.min_target_variance):
            yield (
                "target_variance",
                f"variance of a target layer is {line['target_variance_min']:.1e}, below"
                f" {config.min_target_variance:g}: the teacher says the same at every frame",
            )
        if line.get("grad_norm", 0.0) > config.max_grad_norm:
            yield (
                "grad_norm",
                f"gradient norm {line['grad_norm']:.0f} is above {config.max_grad_norm:g}; lower"
                " the learning rate or lengthen its warm-up",
            )
        if line.get("input_wait", 0.0) > config.max_input_wait:
            yield (
                "input_wait",
                f"{line['input_wait']:.0%} of the time goes into waiting for data; raise"
                " data.workers or data.threads, or pack the data with tools/pack_array_record.py",
            )
