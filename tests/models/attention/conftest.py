"""Inputs of attention."""

import jax
import jax.numpy as jnp
import pytest

from tests.models.attention.cases import FRAMES, HEADS, LENGTHS, ROWS, WIDTH


@pytest.fixture(scope="session")
def inputs():
    """Queries, keys, values [B, T, H, d] and the mask [B, T]."""
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [jax.random.normal(key, (ROWS, FRAMES, HEADS, WIDTH)) for key in keys]
    return *arrays, jnp.arange(FRAMES) < jnp.array(LENGTHS)[:, None]
