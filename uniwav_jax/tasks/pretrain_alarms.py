"""Limits of the metrics of pretraining, beyond which a run is unhealthy."""

from uniwav_jax.tasks.task import Alarm

ALARMS = (
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
        "encoder loss {value:.2f} is below {limit:g}: the teacher's targets have become"
        " trivial; lengthen its horizon (distillation.teacher_horizon_*) and check that the"
        " data is not silence",
    ),
    Alarm(
        "target_variance_min",
        False,
        "min_target_variance",
        "variance of a target layer is {value:.1e}, below {limit:g}: the teacher's output is"
        " constant over time",
    ),
)
