"""Waveform features: int16 and float audio have the same features; decoding clips."""

import numpy as np

from uniwav_jax import features as features_lib
from uniwav_jax.config import FeaturesConfig


def test_samples_are_encoded_and_decoded():
    features = features_lib.build(FeaturesConfig(kind="waveform"))
    audio = np.array([[0, 16384, -32768]], np.int16)
    x = features.encode({}, audio)
    np.testing.assert_array_equal(x[..., 0], [[0.0, 0.5, -1.0]])
    np.testing.assert_array_equal(features.encode({}, audio.astype(np.float32) / 32768), x)
    np.testing.assert_array_equal(features.decode({}, 2 * x), [[0.0, 1.0, -1.0]])
