"""Durations read the phones and what is visible, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import Config, TtsConfig
from uniwav_jax.models import durations
from uniwav_jax.text import phones

PHONES = ("AH", "T", "sil")
pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture(scope="module")
def problem():
    tts = TtsConfig(phones=PHONES, duration_layers=2, duration_width=32)
    config = dataclasses.replace(Config(), tts=tts)
    params = jax.jit(lambda: durations.init(jax.random.key(0), config))()
    fresh = params["out"]["bias"].item()
    assert np.expm1(fresh) == pytest.approx(4.0), "80 ms"
    params["out"]["kernel"] = jax.random.normal(jax.random.key(1), (32, 1))
    number = phones.Vocabulary(PHONES).number
    row = [number(symbol) for symbol in ("sil", "AH0_B", "T_E", "AH1_S", "sil")]
    numbers = jnp.array([[*row, -1, -1]])
    predict = jax.jit(lambda *rows: durations.predict(params, *rows, None, config))
    return numbers, predict


def test_hidden_durations_and_padding_are_not_read(problem):
    numbers, predict = problem
    frames = jnp.array([[5, 6, 7, 8, 9, 0, 0]])
    visible = jnp.array([[1, 1, 0, 0, 0, 0, 0]], bool)
    base = predict(numbers, frames, visible)
    assert base.shape == (1, 7)
    np.testing.assert_array_equal(predict(numbers, frames.at[0, 3].set(50), visible), base)
    shorter = predict(numbers[:, :5], frames[:, :5], visible[:, :5])
    np.testing.assert_allclose(shorter[0], base[0, :5], atol=1e-5)
    assert (predict(numbers, frames.at[0, 1].set(50), visible) != base)[0, :5].any()
