"""Conditional Flow Matching with the optimal-transport path (method section 5).

x_t = (1 - (1 - s) t) x0 + t x1        u = x1 - (1 - s) x0        x0 ~ N(0, I), x1 = data
"""

import jax
import jax.numpy as jnp


def path(x0: jax.Array, x1: jax.Array, t_B: jax.Array, sigma: float) -> jax.Array:
    """Point x_t on the path for one t per row; x0, x1 are [B, T, C]."""
    t = t_B[:, None, None]
    return (1.0 - (1.0 - sigma) * t) * x0 + t * x1


def target(x0: jax.Array, x1: jax.Array, sigma: float) -> jax.Array:
    """Velocity u = d x_t / dt."""
    return x1 - (1.0 - sigma) * x0


def squared_error_sum(v_BxTxC: jax.Array, u_BxTxC: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Sum over masked frames of the squared error, averaged over channels; float32.

    Divide by the global number of masked frames to get L_dec.
    """
    error = jnp.square(v_BxTxC.astype(jnp.float32) - u_BxTxC).mean(-1)
    return (error * mask_BxT).sum()
