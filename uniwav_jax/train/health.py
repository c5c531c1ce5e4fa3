"""Alarms for what ruins runs: collapse, explosions, lost updates, starved input.

Bands of pretraining come from published curves: in DinoSR's run the target perplexity passes 80 at
the start and 170 after 2.5k steps and the encoder loss never falls below 1; a loss near 0.2 goes
with a collapsed teacher. The others are ours; `HealthConfig` gives their reasons.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError


class UnhealthyRunError(UserError):
    """The run was stopped because going on would waste the machine."""


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


def _until_all_learns(config: Config) -> int:
    """Updates of recognition until the whole model has learned at its full rate."""
    warmup = round(config.optim.warmup * config.train.steps)
    return max(warmup, 0 if config.asr.frozen else config.asr.freeze_steps)


def _adversarial(config: Config) -> bool:
    """Whether a codec learns from its discriminator."""
    return config.codec.adversarial_share > 0 or config.codec.features_share > 0


def _codewords(config: Config) -> float:
    """Codewords of a codec's quantiser that the frames of one batch can use."""
    structure = config.codec.structure
    frames = config.data.batch_seconds * structure.sample_rate / structure.hop
    return min(structure.codewords, frames)


# Metrics of different tasks have different names, so that one table serves all of them.
ALARMS = (
    Alarm(
        "skipped_share",
        True,
        "max_skipped_share",
        "{value:.0%} of the last updates were skipped because their loss or gradient"
        " was not finite, more than {limit:.0%}; lower config.optim.lr, use"
        " --config.model.compute_dtype=float32, or look at the data with 'uniwav data check'",
        grace=None,  # nothing here scales losses: a healthy run loses no updates at the start
    ),
    Alarm(
        "target_perplexity",
        False,
        "min_target_perplexity",
        "target perplexity {value:.1f} is below {limit:g}: the clusters collapse; lower the"
        " learning rate, take larger batches, or set distillation.prediction=spidr",
    ),
    Alarm(
        "loss_encoder",
        False,
        "min_encoder_loss",
        "encoder loss {value:.2f} is below {limit:g}: the teacher has become trivial; lengthen"
        " its horizon (distillation.teacher_horizon_*) and check that the data is not silence",
    ),
    Alarm(
        "target_variance_min",
        False,
        "min_target_variance",
        "variance of a target layer is {value:.1e}, below {limit:g}: the teacher's output is"
        " constant over time",
    ),
    Alarm(
        "grad_norm",
        True,
        "max_grad_norm",
        "gradient norm {value:.0f} is above {limit:g}; lower the learning rate or lengthen its"
        " warm-up",
    ),
    Alarm(
        "blank_share",
        True,
        "max_blank_share",
        "{value:.1%} of the frames are recognised as blank, more than {limit:.1%}: the recogniser"
        " writes nothing; raise the learning rate or lengthen its warm-up, start from a pretrained"
        " run (init_from), or check that the texts belong to the audio",
        grace=_until_all_learns,
    ),
    Alarm(
        "loss_discriminator",
        False,
        "min_discriminator_loss",
        "discriminator loss {value:.3f} is below {limit:g}: it tells decoded from real speech"
        " without fail and learns nothing more; lower the learning rate or"
        " codec.discriminator_filters",
        applies=_adversarial,
    ),
    Alarm(
        "loss_discriminator",
        True,
        "max_discriminator_loss",
        "discriminator loss {value:.3f} is above {limit:g} (2 is a constant output): it does not"
        " tell decoded from real speech, and its share of the gradient is noise; lower the learning"
        " rate or raise codec.discriminator_filters",
        applies=_adversarial,
    ),
    Alarm(
        "latent_rms",
        False,
        "min_latent_rms",
        "root mean square of the latents is {value:.1e}, below {limit:g}: they shrink to zero;"
        " lower codec.penalty or the learning rate",
    ),
    Alarm(
        "latent_rms",
        False,
        "min_latent_to_noise",
        "root mean square of the latents is {value:.3f}, below {limit:g}: they carry next to"
        " nothing through the noise; lower codec.noise or codec.penalty",
        unit=lambda config: config.codec.noise,
        applies=lambda config: config.codec.bottleneck == "noise",
    ),
    Alarm(
        "codebook_perplexity",
        False,
        "min_codebook_use",
        "perplexity of the quantiser's codebooks is {value:.1f}, below {limit:.1f}: frames fall on"
        " few codewords; take larger batches, or fewer codec.structure.codewords",
        unit=_codewords,
        applies=lambda config: config.codec.bottleneck == "rvq",
    ),
    Alarm(
        "input_wait",
        True,
        "max_input_wait",
        "{value:.0%} of the time goes into waiting for data; raise data.workers or data.threads, or"
        " pack the data with 'uniwav data pack'",
        stops=False,
    ),
)


class Health:
    """Looks at every line of metrics; warns, and stops a run that stays ill."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._in_a_row = dict.fromkeys(ALARMS, 0)
        self._skipped_shares: list[float] = []

    def check(self, step: int, line: dict[str, float], *, skipped: Sequence[int] = ()) -> list[str]:
        """Warnings about the metrics of `step`; `skipped` are the updates that were not finite.

        A metric that is missing or NaN leaves the count of its alarm as it was; a value within its
        limit sets it to zero.

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
                " look at the data with 'uniwav data check'; the last checkpoint is sound"
            )
        if not health.enabled:
            return warnings
        line = {**line, "skipped_share": self._skipped_share(line.get("skipped_share"))}
        for alarm in ALARMS:
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
                    " --config.health.enabled=False lets it run on"
                )
        return warnings

    def _skipped_share(self, share: float | None) -> float | None:
        """The share over as many lines as can show the limit: 10 % needs at least ten updates.

        None until there are so many. Lines are usually long enough by themselves.
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
