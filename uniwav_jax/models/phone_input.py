"""Phones as input: embeddings of symbols, spread over the frames of an alignment.

The embedding of a symbol is the sum of those of its phone, stress and place in the word
(text/phones.py), [P, D], [4, D] and [5, D].
"""

import jax
import jax.numpy as jnp

from uniwav_jax.text import phones as phones_lib
from uniwav_jax.types import PyTree


def init(key: jax.Array, *, phones: int, width: int) -> PyTree:
    """{"phone" [P, D], "stress" [4, D], "place" [5, D]} of unit Gaussian noise / sqrt(3)."""
    sizes = {
        "phone": phones,
        "stress": len(phones_lib.STRESSES),
        "place": len(phones_lib.PLACES),
    }
    return {
        name: jax.random.normal(part, (size, width)) * 3.0**-0.5
        for (name, size), part in zip(sizes.items(), jax.random.split(key, 3))
    }


def embed(tables: PyTree, phones_BxU: jax.Array) -> jax.Array:
    """Embeddings of symbols, float32 [B, U, D]; zero on padding.

    Args:
        tables: the result of `init`.
        phones_BxU: numbers of symbols (`text.phones.Vocabulary`), int32; -1 on padding.
    """
    phone, stress, place = phones_lib.parts(jnp.maximum(phones_BxU, 0))
    total = tables["phone"][phone] + tables["stress"][stress] + tables["place"][place]
    return jnp.where(phones_BxU[..., None] >= 0, total, 0.0)


def of_frames(ends_BxU: jax.Array, total: int) -> jax.Array:
    """The place in the row's phones of each frame, int32 [B, T]; U where there is no phone.

    Args:
        ends_BxU: int32, the frame after each phone's last one, not falling; -1 on padding.
        total: T.
    """
    ends_BxU = jnp.where(ends_BxU < 0, total + 1, ends_BxU)
    # Without padding the frames after the last end have U, with padding the first padded place,
    # whose embedding is zero too.
    return (jnp.arange(total)[:, None] >= ends_BxU[:, None]).sum(-1).astype(jnp.int32)


def spread(embedded_BxUxD: jax.Array, place_BxT: jax.Array) -> jax.Array:
    """The embedding of each frame's phone, [B, T, D]; zero where there is no phone.

    Args:
        embedded_BxUxD: embeddings of the phones.
        place_BxT: the result of `of_frames`.
    """
    padded = jnp.pad(embedded_BxUxD, ((0, 0), (0, 1), (0, 0)))
    return jnp.take_along_axis(padded, place_BxT[..., None], axis=1)
