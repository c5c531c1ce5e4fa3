"""A configuration and parameters small enough to compile in a second."""

import jax
import pytest

from uniwav_jax.config import default_config, from_dict

SMALL = {
    "model.compute_dtype": "float32",
    "model.remat": "none",
    "model.encoder.layers": 3,
    "model.encoder.width": 32,
    "model.encoder.heads": 4,
    "model.encoder.ffn": 48,
    "model.encoder.position_convolutions": 2,
    "model.encoder.position_kernel": 5,
    "model.encoder.position_groups": 4,
    "model.decoder.layers": 4,
    "model.decoder.width": 24,
    "model.decoder.heads": 3,
    "model.decoder.ffn": 40,
    "model.decoder.position_kernel": 7,
    "distillation.top_layers": 2,
    "distillation.codewords": 16,
}


@pytest.fixture(scope="session")
def make_config():
    """Call with {"group.field": value} to change the small configuration."""

    def make(changes=None):
        config = default_config("tiny")
        config.update_from_flattened_dict({**SMALL, **(changes or {})})
        return from_dict(config)

    return make


@pytest.fixture(scope="session")
def scramble():
    """Replace every parameter by noise, so that zero and one at the start hide nothing."""

    def scrambled(params, scale=0.3):
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(99), len(leaves))
        noise = [scale * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)]
        return jax.tree.unflatten(tree, noise)

    return scrambled
