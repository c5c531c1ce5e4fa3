"""The implementations of attention with one signature, and shapes for their tests."""

import functools

import jax.numpy as jnp

from uniwav_jax.models import dropout
from uniwav_jax.models.attention import attend, fused

ROWS, HEADS, FRAMES, WIDTH = 3, 2, 300, 16  # FRAMES exceeds one chunk and no multiple of 128
LENGTHS = (300, 130, 0)  # real frames of each row


def splash(*arrays):
    """The splash kernel as `attend` calls it, but interpreted."""
    *qkv, mask = arrays
    out = fused.splash(*(jnp.swapaxes(a, 1, 2) for a in qkv), mask, interpret=True)
    return jnp.swapaxes(out, 1, 2)


def pallas(*arrays, dropout_rate=0.0, dropout_key=None, interpret=True, **options):
    """Our TPU kernel as `attend` calls it, but interpreted."""
    if dropout_rate:
        options |= {"rate": dropout_rate, "seed": dropout.seed(dropout_key)}
    return fused.pallas(*arrays, interpret=interpret, **options)


names = ("xla", "heads", "chunk", "auto")
known = {name: functools.partial(attend, implementation=name) for name in names}
known |= {"splash": splash, "pallas": pallas}


def real(out, mask):
    """Set the outputs on padding, which are meaningless, to zero."""
    return jnp.where(mask[:, :, None, None], out, 0)
