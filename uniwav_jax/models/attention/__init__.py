"""Bidirectional attention over whole rows: one formula in five implementations.

    softmax(q k^T / sqrt(d) - slope |i - j|) v        where keys on padding have weight 0

`formula` computes it in plain JAX, `fused` selects an implementation and wraps JAX's fused kernels,
and `tpu_kernel` has our own kernel for TPU.
"""

from uniwav_jax.models.attention.formula import alibi_slopes
from uniwav_jax.models.attention.fused import KEPT, attend

__all__ = ["KEPT", "alibi_slopes", "attend"]
