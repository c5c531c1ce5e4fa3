"""Speech tokens of a frozen encoder, and what the decoder reads in their place (paper, Eq. 11).

    h_i -> LayerNorm -> book 1 -> q1            semantic: i is the layer that says most of phones
    z - (P q1) -> book 2 -> ... -> book K       what book 1 leaves of z, residual quantisation
    tokens -> P q1 + q2 + ... + qK              in place of z

P is a linear map from the encoder's to the decoder's width. The books are {"first": one codebook,
"later": K - 1 codebooks} of models/quantizer.py; "later" is missing if K is 1.
"""

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.models import layers, quantizer
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.types import PyTree


def init(key: jax.Array, config: Config) -> PyTree:
    """The parameters of P, {"kernel" [D, E], "bias" [E]}, with D, E the widths; it starts at 0."""
    del key
    shape = (config.model.encoder.width, config.model.decoder.width)
    return {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1])}


def init_books(key: jax.Array, config: Config) -> PyTree:
    """Books of noise; {"sums" [K, V, D], "counts" [K, V]} under "first" and "later"."""
    first_key, later_key = jax.random.split(key)
    books, words, model = config.tokenizer.books, config.tokenizer.codewords, config.model
    found = {
        "first": quantizer.init(first_key, books=1, codewords=words, width=model.encoder.width)
    }
    if books > 1:
        found["later"] = quantizer.init(
            later_key, books=books - 1, codewords=words, width=model.decoder.width
        )
    return found


def state(encoded: EncoderOutput, layer: int) -> jax.Array:
    """What book 1 quantises: the normalised state of a layer, float32 [B, T, D].

    Args:
        encoded: the encoder's output for unmasked input.
        layer: from 0, the input of the first layer.
    """
    return layers.plain_layer_norm(encoded.states[layer - 1] if layer else encoded.embedding)


def project(params: PyTree, q_BxTxD: jax.Array) -> jax.Array:
    """P q, float32 [..., E]."""
    product = jnp.matmul(q_BxTxD, params["kernel"], precision=quantizer.EXACT)
    return product + params["bias"]


def encode(
    params: PyTree, books: PyTree, h_BxTxD: jax.Array, z_BxTxE: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The codes, int32 [K, B, T], and what the books leave of z, float32 [B, T, E].

    Args:
        params: P.
        books: the books.
        h_BxTxD: `state`.
        z_BxTxE: the conditioning of the decoder, E channels; float32.
    """
    first_1xBxT = quantizer.assign(books["first"], h_BxTxD[None])
    left_BxTxE = z_BxTxE.astype(jnp.float32) - embed(params, books, first_1xBxT)
    if "later" not in books:
        return first_1xBxT, left_BxTxE
    words = quantizer.codewords(books["later"])
    later = quantizer.encode(words, left_BxTxE)
    return jnp.concatenate([first_1xBxT, later]), left_BxTxE - quantizer.decode(words, later)


def embed(params: PyTree, books: PyTree, codes_KxBxT: jax.Array) -> jax.Array:
    """What the decoder reads in place of z, float32 [..., E].

    Args:
        params: P.
        books: the books.
        codes_KxBxT: int32; of the first books only where there are fewer than K.
    """
    found = project(params, quantizer.codewords(books["first"])[0][codes_KxBxT[0]])
    if len(codes_KxBxT) > 1:
        words = quantizer.codewords(books["later"])
        found = found + quantizer.decode(words, codes_KxBxT[1:])
    return found
