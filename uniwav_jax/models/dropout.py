"""Dropout with cheap random bits.

`jax.random.bernoulli` needs about a hundred integer operations per bit, which for attention weights
is more work than attention itself. Here a bit is a hash of the element's position. It is random
enough for dropout, and does not depend on how the array is sharded or cut into blocks.
"""

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Set each element to zero with probability `rate`, and divide the others by 1 - rate.

    Args:
        x: any shape and float dtype.
        rate: probability of zero, below 1.
        key: random key; None returns `x`, for evaluation.
    """
    if key is None or rate == 0.0:
        return x
    index, stride = jnp.zeros(x.shape, jnp.uint32), 1
    for axis in reversed(range(x.ndim)):
        index += jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride)
        stride = stride * x.shape[axis] % 2**32
    return jnp.where(kept(seed(key), index, rate), x / (1.0 - rate), 0).astype(x.dtype)


def seed(key: jax.Array) -> jax.Array:
    """The seed of `kept`, uint32 [2], from a random key."""
    return jax.random.bits(key, (2,), jnp.uint32)


def kept(seed: jax.Array, index: jax.Array, rate: float) -> jax.Array:
    """Bool in the shape of `index`, True with probability 1 - rate.

    The mixing function is C. Wellons' lowbias32, seeded before and between its two rounds.

    Args:
        seed: uint32 [2].
        index: uint32, any shape; each index has its own random bit.
        rate: probability of False.
    """
    h = index + seed[0]
    h = (h ^ (h >> 16)) * jnp.uint32(0x7FEB352D)
    h = (h ^ (h >> 15) ^ seed[1]) * jnp.uint32(0x846CA68B)
    h = h ^ (h >> 16)
    return h >= jnp.uint32(int(rate * 2**32))
