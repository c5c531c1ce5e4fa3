"""The alarms of pretraining name metrics that a step has; test_health has a case of each."""

import jax.numpy as jnp

from tests.tasks.test_pretrain import loss_of, make_config, problem
from uniwav_jax.tasks import pretrain
from uniwav_jax.tasks.pretrain_alarms import ALARMS


def test_every_alarm_reads_a_metric_of_pretraining():
    config = make_config()
    _, sums = loss_of(config)(*problem(config))
    metrics = pretrain.metrics(sums, jnp.int32(0), config)
    assert {alarm.metric for alarm in ALARMS} <= metrics.keys()
