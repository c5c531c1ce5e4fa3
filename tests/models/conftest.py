"""A configuration and parameters small enough to compile in a second."""

import jax
import jax.numpy as jnp
import numpy as np
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
    """A function that changes the small configuration by {"group.field": value}."""

    def make(changes=None):
        config = default_config("tiny")
        config.update_from_flattened_dict({**SMALL, **(changes or {})})
        return from_dict(config)

    return make


@pytest.fixture(scope="session")
def scramble():
    """A function that makes random parameters in the shapes of a tree.

    Initial values of 0 and 1 would hide errors. The tree may come from `jax.eval_shape`.
    """

    def scrambled(shapes, scale=0.3):
        rng = np.random.default_rng(99)
        return jax.tree.map(
            lambda a: jnp.asarray(scale * rng.normal(size=a.shape), jnp.float32), shapes
        )

    return scrambled


@pytest.fixture(scope="session")
def compiled():
    """A function that compiles `module.apply` as (params, *arguments, **options) -> result."""

    def make(module):
        return jax.jit(lambda p, *args, **options: module.apply({"params": p}, *args, **options))

    return make


@pytest.fixture(scope="module", autouse=True)
def compiled_fast(fast_compilation):
    """Use fast compilation for all tests of this folder."""
