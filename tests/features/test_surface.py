"""Every kind of features implements the interface, with the right lengths, shapes and dtypes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codec.random_codec import random_codec
from uniwav_jax import features as features_lib
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features.surface import SurfaceFeatures

CODEC = SEANetConfig(filters=2, dimension=8, lstm=0)


@pytest.fixture(scope="module", params=["log_mel", "codec", "waveform"])
def features(request, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("codec") / "codec")
    files.save(folder, CODEC, random_codec(CODEC), info={})
    return features_lib.build(FeaturesConfig(kind=request.param, codec=folder))


def test_attributes_and_methods(features):
    assert all(hasattr(features, name) for name in inspect.get_annotations(SurfaceFeatures))
    assert features.frame_rate == features.sample_rate / features.hop
    methods = [name for name, _ in inspect.getmembers(SurfaceFeatures, inspect.isfunction)]
    for name in (name for name in methods if not name.startswith("_")):
        kinds = (SurfaceFeatures, type(features))
        wanted, found = (list(inspect.signature(getattr(k, name)).parameters) for k in kinds)
        assert wanted == found, name


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 16001])
def test_lengths_and_shapes(features, samples):
    mean, std = np.zeros(features.channels, np.float32), np.ones(features.channels, np.float32)
    params = {**features.weights, "mean": mean, "std": std}
    audio = jax.ShapeDtypeStruct((2, samples + sum(features.context)), jnp.int16)
    frames = -(-samples // features.hop)
    assert features.output_length(samples) == frames
    for encode in (features.encode, features.raw):
        x = jax.eval_shape(encode, params, audio)
        assert (x.shape, x.dtype) == ((2, frames, features.channels), jnp.float32)
    wave = jax.eval_shape(features.decode, params, x)
    assert (wave.shape, wave.dtype) == ((2, frames * features.hop), jnp.float32)
    picture = jax.eval_shape(features.picture, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    assert picture.ndim == 2
