"""Features of a batch of audio or latents are normalised, zero on padding, and not trained."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features import LogMel, mfcc
from uniwav_jax.features.batch import batch_mfcc, surface
from uniwav_jax.types import Batch


def test_padding_is_zero_and_there_is_no_gradient(log_mel_features, speech):
    features = log_mel_features
    params = {"mean": np.full(80, -3.0, np.float32), "std": np.full(80, 2.0, np.float32)}
    samples = np.array([48000, 30001], np.int32)
    batch = Batch(speech[:2], samples, np.zeros(2, bool))
    x, frames = surface(batch, params, features)
    assert frames.tolist() == [150, 94]
    np.testing.assert_array_equal(x[0], features.encode(params, speech[:2])[0])
    assert (x[1, 94:] == 0).all() and (x[1, :94] != 0).any()

    def total(params):
        return surface(batch, params, features)[0].sum()

    assert all((leaf == 0).all() for leaf in jax.tree.leaves(jax.grad(total)(params)))


def test_latents_are_normalised(log_mel_features):
    latents = np.ones((1, 5, 80), np.float16)
    batch = Batch(None, np.array([3 * 320], np.int32), np.zeros(1, bool), latents=latents)
    params = {"mean": jnp.full(80, 2.0), "std": jnp.full(80, 4.0)}
    x, frames = surface(batch, params, log_mel_features)
    assert frames.tolist() == [3]
    np.testing.assert_array_equal(x[0, :, 0], [-0.25, -0.25, -0.25, 0, 0])


def test_mfccs_have_the_frames_of_the_surface_features(log_mel_features, speech):
    """They are those of log-mel with windows of 32 ms; latents are decoded first."""
    params = {"mean": np.zeros(80, np.float32), "std": np.ones(80, np.float32)}
    samples = np.array([48000, 30001], np.int32)
    batch = Batch(speech[:2], samples, np.zeros(2, bool))
    x, frames = surface(batch, params, log_mel_features)
    got = batch_mfcc(batch, x, params, log_mel_features)
    raw = LogMel(FeaturesConfig(window=512)).raw({}, speech[:2])
    np.testing.assert_allclose(got, mfcc.mfcc(raw, frames), atol=1e-5)

    latents = Batch(None, samples, np.zeros(2, bool), latents=np.asarray(x, np.float16))
    decoded = batch_mfcc(latents, x, params, log_mel_features)
    assert decoded.shape == got.shape
    first, second = np.asarray(got[0, :, :13]).ravel(), np.asarray(decoded[0, :, :13]).ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.95
