"""Causality of SEANet and the numbers of its layers; tests/oracles compares its values."""

import functools

import jax
import numpy as np

from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.codec.network import Codec


def test_causal_output_does_not_depend_on_the_future():
    config = SEANetConfig(filters=2, dimension=4, causal=True, padding="constant")
    model = Codec(config)
    audio = jax.random.normal(jax.random.key(1), (1, 3200))
    variables = jax.jit(model.init)(jax.random.key(0), audio)
    encode = jax.jit(functools.partial(model.apply, method="encode"))
    other = audio.at[:, 1600:].set(0.0)
    seen, unseen = (np.asarray(encode(variables, a)) for a in (audio, other))
    np.testing.assert_array_equal(seen[:, :5], unseen[:, :5])
    assert np.abs(seen[:, 5] - unseen[:, 5]).max() > 1e-4


def test_layers_are_numbered_as_in_encodec():
    """Numbers go from 0 to 15 in both parts and include activations, which have no parameters."""
    config = SEANetConfig(filters=2, dimension=4)
    variables = jax.eval_shape(Codec(config).init, jax.random.key(0), np.zeros((1, 640)))
    for part in ("encoder", "decoder"):
        numbers = {int(n.split("_")[1]) for n in variables["params"] if n.startswith(part)}
        assert numbers == {0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15}
