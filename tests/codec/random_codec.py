"""Random weights for a codec, for tests that need no trained ones."""

import jax
import numpy as np

from uniwav_jax.codec import files


def random_codec(config):
    """Kernels with a standard deviation of 1 / sqrt(fan-in), and biases that are not zero.

    With zero biases the frames of silence would be zero, so tests could not tell them from padding.
    """
    rng = np.random.default_rng(0)

    def draw(shape):
        if len(shape) == 1:
            return (0.1 * rng.normal(size=shape)).astype(np.float32)
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    return jax.tree.map(draw, files.shapes(config), is_leaf=lambda node: isinstance(node, tuple))
