"""Every task's methods, and advice for each method."""

import pytest

from uniwav_jax import abilities, api
from uniwav_jax.config import recipes


@pytest.mark.parametrize(
    ("task", "methods"),
    [
        ("pretrain", abilities.ENCODER),
        ("asr", abilities.ENCODER | abilities.RECOGNITION),
        ("tts", abilities.ENCODER | abilities.SPEECH),
        ("tokenizer", abilities.ENCODER | abilities.TOKENS),
        ("codec", abilities.CODEC),
    ],
)
def test_methods_of_tasks(task, methods):
    assert abilities.of_task(task) == methods
    for method in methods:
        assert hasattr(api.Model, method)
        config = abilities.TRAINED_BY[method].split("--config=")[1].split()[0]
        assert config in recipes.names()
