"""Bidirectional attention over whole rows: one formula in five implementations.

    softmax(q k^T / sqrt(d) - slope |i - j|) v        keys on padding get no weight

`formula` has the definition in plain jnp, `fused` the choice of an implementation and JAX's fused
kernels, and `tpu_kernel` our own kernel for TPU.
"""

from uniwav_jax.models.attention.formula import alibi_slopes
from uniwav_jax.models.attention.fused import KEPT, attend

__all__ = ["KEPT", "alibi_slopes", "attend"]
