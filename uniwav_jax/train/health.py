"""Alarms for runs that collapse, diverge, skip updates or wait for data.

The limits of pretraining come from published curves. In DinoSR's run the target perplexity is above
80 soon after the start and above 170 after 2.5k steps, and the encoder loss never falls below 1; a
loss near 0.2 accompanies a collapsed teacher. The other limits are ours; `HealthConfig` gives their
reasons.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from uniwav_jax import tasks
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import curves
from uniwav_jax.tasks.task import Alarm


class UnhealthyRunError(UserError):
    """The run was stopped because continuing it would waste compute."""


# Alarms of every run; each task adds its own (`Task.alarms`).
ALARMS = (
    Alarm(
        "skipped_share",
        True,
        "max_skipped_share",
        "{value:.0%} of the last updates were skipped because their loss or gradient"
        " was not finite, more than {limit:.0%}; lower config.optim.lr, use"
        " --config.model.compute_dtype=float32, or look at the data with 'uniwav data check'",
        grace=None,  # losses are not scaled dynamically, so healthy runs skip no updates
    ),
    Alarm(
        "grad_norm",
        True,
        "max_grad_norm",
        "gradient norm {value:.0f} is above {limit:g}; lower the learning rate or lengthen its"
        " warm-up",
    ),
    Alarm(
        "input_wait",
        True,
        "max_input_wait",
        "{value:.0%} of the time is spent waiting for data; raise data.workers or data.threads, or"
        " pack the data with 'uniwav data pack'",
        stops=False,
    ),
)


class Health:
    """Checks every line of metrics, returns warnings, and stops a run that stays unhealthy.

    Raises:
        UserError: `health.reference` does not exist or has no metrics.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._alarms = (*ALARMS, *tasks.get(config.task).alarms)
        self._in_a_row = dict.fromkeys(self._alarms, 0)
        self._skipped_shares: list[float] = []
        name = config.health.reference
        self._reference = curves.read(curves.reference(name)) if name else {}
        self._own: dict[str, list[tuple[int, float]]] = {}  # losses of late
        self._above: set[str] = set()

    def check(self, step: int, line: dict[str, float], *, skipped: Sequence[int] = ()) -> list[str]:
        """Return warnings about one line of metrics.

        A metric that is missing or NaN does not change the count of its alarm; a value within the
        limit resets the count to zero.

        Args:
            step: the line's step.
            line: metrics by name; it has "skipped" and "skipped_in_a_row".
            skipped: numbers of the updates in this line that were not finite.

        Raises:
            UnhealthyRunError: `train.max_skipped` non-finite updates in a row, or one alarm
                `health.patience` times in a row.
        """
        config, health = self._config, self._config.health
        warnings = []
        if skipped:
            numbers = ", ".join(map(str, skipped))
            warnings.append(
                f"update {numbers} was not finite and was skipped ({line['skipped']:.0f} in all);"
                f" it replays from the last checkpoint with config.seed={config.seed}: batch and"
                " random numbers follow from the seed and the update's number"
            )
        if line["skipped_in_a_row"] >= config.train.max_skipped:
            raise UnhealthyRunError(
                f"stopped at step {step}: {line['skipped_in_a_row']:.0f} updates in a row gave NaN"
                " or infinity; lower config.optim.lr, use --config.model.compute_dtype=float32, or"
                " look at the data with 'uniwav data check'; the last checkpoint is not affected"
            )
        if not health.enabled:
            return warnings
        warnings += self._against_reference(step, line)
        line = {**line, "skipped_share": self._skipped_share(line.get("skipped_share"))}
        for alarm in self._alarms:
            value = line.get(alarm.metric)
            if value is None or math.isnan(value) or not alarm.applies(config):
                continue
            if alarm.grace and step < health.grace_steps + alarm.grace(config):
                continue
            limit = getattr(health, alarm.field) * alarm.unit(config)
            if value <= limit if alarm.above else value >= limit:
                self._in_a_row[alarm] = 0
                continue
            self._in_a_row[alarm] += 1
            text = alarm.text.format(value=value, limit=limit)
            warnings.append(f"step {step}: {text}")
            if alarm.stops and self._in_a_row[alarm] >= health.patience:
                raise UnhealthyRunError(
                    f"stopped at step {step} after {self._in_a_row[alarm]} alarms in a row: {text};"
                    " --config.health.enabled=False lets the run continue"
                )
        return warnings

    def _against_reference(self, step: int, line: dict[str, float]) -> Iterator[str]:
        """A warning about each loss that has come to lie too far above that of the reference.

        Both are means over the last tenth of the updates.
        """
        health = self._config.health
        for name in self._reference.keys() & {n for n in line if n.startswith("loss")}:
            recent = [point for point in self._own.get(name, ()) if point[0] > 0.9 * step]
            self._own[name] = [*recent, (step, line[name])]
            own = curves.Curve(*map(np.array, zip(*self._own[name], strict=True)))
            found = curves.compare(own, [self._reference[name]], step)
            if found is None or step < health.grace_steps:
                continue
            limit = found.high + health.max_above_reference * abs(found.high)
            if found.value <= limit:
                self._above.discard(name)
            elif name not in self._above:
                self._above.add(name)
                yield (
                    f"step {step}: {name} is {found.value:.3g}, above that of {health.reference} at"
                    f" this update ({found.low:.3g} to {found.high:.3g}); 'uniwav report WORKDIR"
                    f" --reference {health.reference}' shows all curves beside its"
                )

    def _skipped_share(self, share: float | None) -> float | None:
        """Mean share over enough lines to show the limit: 10 % needs at least ten updates.

        It is None until there are enough. One line is usually enough.
        """
        if share is None:
            return None
        self._skipped_shares.append(share)
        updates = len(self._skipped_shares) * self._config.train.log_every
        if 0 < updates * self._config.health.max_skipped_share < 1:
            return None
        mean = sum(self._skipped_shares) / len(self._skipped_shares)
        self._skipped_shares = []
        return mean
