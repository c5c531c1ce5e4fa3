"""A codec with random weights, for tests of everything around the weights."""

import jax
import numpy as np

from uniwav_jax.codec import files


def random_codec(config):
    """Parameters of scale one over the square root of the fan-in, and biases that are not zero.

    With zero biases silence would give zero frames, which padding gives too.
    """
    rng = np.random.default_rng(0)

    def draw(shape):
        if len(shape) == 1:
            return (0.1 * rng.normal(size=shape)).astype(np.float32)
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    return jax.tree.map(draw, files.shapes(config), is_leaf=lambda node: isinstance(node, tuple))
