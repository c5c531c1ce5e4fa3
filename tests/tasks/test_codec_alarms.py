"""Limits of the codec's alarms that depend on the configuration; test_health has a case of each."""

import dataclasses

from uniwav_jax.config import Config
from uniwav_jax.tasks.codec_alarms import ALARMS, adversarial


def test_alarms_of_a_discriminator_need_one():
    config = Config()
    assert adversarial(config)
    shares = {"adversarial_share": 0.0, "features_share": 0.0}
    alone = dataclasses.replace(config, codec=dataclasses.replace(config.codec, **shares))
    assert not adversarial(alone)
    of_discriminator = [alarm for alarm in ALARMS if alarm.metric == "loss_discriminator"]
    assert len(of_discriminator) == 2
    assert not any(alarm.applies(alone) for alarm in of_discriminator)


def test_a_batch_cannot_use_more_codewords_than_it_has_frames():
    config = Config()
    (alarm,) = [alarm for alarm in ALARMS if alarm.metric == "codebook_perplexity"]
    assert alarm.unit(config) == 1024
    short = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_seconds=2.0))
    assert alarm.unit(short) == 100
