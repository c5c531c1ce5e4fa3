"""Limits of the alarms of speech tokens that depend on the configuration."""

import dataclasses

from uniwav_jax.config import Config
from uniwav_jax.tasks.tokenizer_alarms import ALARMS


def test_alarms_apply_to_the_books_that_exist_and_have_started():
    config = Config()
    first, second = ALARMS
    assert first.applies(config) and not second.applies(config)
    assert first.unit(config) == config.tokenizer.codewords
    options = dataclasses.replace(config.tokenizer, books=2, later=0.1)
    config = dataclasses.replace(config, tokenizer=options)
    assert second.applies(config) and second.grace(config) == 0.1 * config.train.steps
    short = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_seconds=2.0))
    assert first.unit(short) == 100  # frames of a batch
