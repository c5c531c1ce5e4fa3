"""Residual vector quantiser (EnCodec, section 3.2): each stage codes what the stages before left.

Codebooks are [Q, V, C] float32; a stage picks the nearest codeword by squared distance.
"""

import jax
import jax.numpy as jnp


def encode(books_QxVxC: jax.Array, z_BxTxC: jax.Array) -> jax.Array:
    """Codes int32 [Q, B, T] of latents."""

    def stage(left_BxTxC: jax.Array, book_VxC: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Only the terms that differ between codewords; one matmul.
        dots = jnp.einsum("btc,vc->btv", left_BxTxC, book_VxC, precision="highest")
        codes_BxT = jnp.argmin(jnp.square(book_VxC).sum(-1) - 2 * dots, axis=-1)
        return left_BxTxC - book_VxC[codes_BxT], codes_BxT.astype(jnp.int32)

    return jax.lax.scan(stage, z_BxTxC.astype(jnp.float32), books_QxVxC)[1]


def decode(books_QxVxC: jax.Array, codes_QxBxT: jax.Array) -> jax.Array:
    """Latents float32 [B, T, C], sums of codewords; codes of fewer stages are of the first."""
    books = books_QxVxC[: len(codes_QxBxT)]
    return jax.vmap(lambda book, codes: book[codes])(books, codes_QxBxT).sum(0)
