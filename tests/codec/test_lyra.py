"""Lyra's structure; tests/oracles compares its values with Google's graphs."""

import jax
import numpy as np

from tests.codec.random_codec import random_codec
from uniwav_jax.codec.config import LyraConfig
from uniwav_jax.codec.network import Codec

CONFIG = LyraConfig(codebooks=0)


def test_encoder_and_decoder_are_causal():
    variables = {"params": random_codec(CONFIG)["network"]}
    apply = jax.jit(Codec(CONFIG).apply, static_argnames="method")
    audio = np.random.default_rng(0).normal(size=(1, 3200)).astype(np.float32)
    other = audio.copy()
    other[:, 1600:] = 0.0
    z, z_other = (np.asarray(apply(variables, a, method="encode")) for a in (audio, other))
    np.testing.assert_array_equal(z[:, :5], z_other[:, :5])
    assert np.abs(z[:, 5] - z_other[:, 5]).max() > 1e-4
    y, y_other = (np.asarray(apply(variables, a, method="decode")) for a in (z, z_other))
    np.testing.assert_array_equal(y[:, :1600], y_other[:, :1600])
    assert np.abs(y[:, 1600:1920] - y_other[:, 1600:1920]).max() > 1e-4
