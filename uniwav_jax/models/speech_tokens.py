"""Speech tokens of a frozen encoder, and what the decoder reads in their place (paper, Eq. 11).

    h_i -> LayerNorm -> book 1 -> q1            semantic: i is the layer that says most of phones
    z - (P q1) -> book 2 -> ... -> book K       what book 1 leaves of z, residual quantisation
    tokens -> P q1 + q2 + ... + qK              in place of z

P is a linear map from the encoder's to the decoder's width. The books are {"first": one codebook,
"later": K - 1 codebooks} of models/quantizer.py; "later" is missing if K is 1.

Book 1 may be a finite scalar quantiser instead (FSQ, Mentzer et al., arXiv 2309.15505): a trained
linear map takes h_i to L numbers, tanh bounds them, and each is rounded to one of a few levels. Its
codewords are the points of a grid, which is stored like a codebook and never changes, and P is a
map from L numbers. The paper shifts grids of even size, so that 0 is a point; here all are centred.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.models import layers, quantizer
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.types import PyTree


def init(key: jax.Array, config: Config) -> PyTree:
    """The parameters of P, {"kernel" [D, E], "bias" [E]}, with D, E the widths; it starts at 0.

    With FSQ of L dimensions P is {"kernel" [L, E], "bias" [E]}, and there is "down", {"kernel"
    [D, L], "bias" [L]}. Both kernels start from noise then, because no gradient would pass a P of 0
    to "down".
    """
    width, read = config.model.encoder.width, config.model.decoder.width
    size = len(config.tokenizer.levels)
    if not size:
        return {"kernel": jnp.zeros((width, read)), "bias": jnp.zeros(read)}
    noise = jax.nn.initializers.lecun_normal()
    down_key, up_key = jax.random.split(key)
    down = {"kernel": noise(down_key, (width, size)), "bias": jnp.zeros(size)}
    return {"kernel": noise(up_key, (size, read)), "bias": jnp.zeros(read), "down": down}


def init_books(key: jax.Array, config: Config) -> PyTree:
    """Books of noise; {"sums" [K, V, D], "counts" [K, V]} under "first" and "later".

    With FSQ "first" is the `grid`, with counts of 1.
    """
    first_key, later_key = jax.random.split(key)
    books, words, model = config.tokenizer.books, config.tokenizer.codewords, config.model
    if config.tokenizer.levels:
        points_VxL = grid(config.tokenizer.levels)
        first = {"sums": points_VxL[None], "counts": jnp.ones((1, len(points_VxL)))}
    else:
        width = model.encoder.width
        first = quantizer.init(first_key, books=1, codewords=words, width=width)
    found = {"first": first}
    if books > 1:
        found["later"] = quantizer.init(
            later_key, books=books - 1, codewords=words, width=model.decoder.width
        )
    return found


def grid(levels: Sequence[int]) -> jax.Array:
    """All points of a grid, float32 [V, L], of which dimension i has l = levels[i] coordinates.

    They are 0 ... l - 1 less (l - 1) / 2. The last dimension changes fastest.
    """
    axes = [jnp.arange(count) - (count - 1) / 2 for count in levels]
    points = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    return points.reshape(math.prod(levels), len(levels)).astype(jnp.float32)


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


def squeeze(params: PyTree, books: PyTree, h_BxTxD: jax.Array) -> jax.Array:
    """What book 1 quantises: h itself, or with FSQ its bounded numbers, float32 [B, T, L].

    Args:
        params: P, and with FSQ "down".
        books: the books; the outermost points of the grid are the bounds.
        h_BxTxD: `state`.
    """
    if "down" not in params:
        return h_BxTxD
    bound_L = quantizer.codewords(books["first"])[0].max(0)
    return bound_L * jnp.tanh(project(params["down"], h_BxTxD))


def first(params: PyTree, books: PyTree, squeezed_BxTxL: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The codes of book 1, int32 [1, B, T], and what the decoder reads of them, float32 [B, T, E].

    The value of the latter is that of `embed`. With FSQ its gradient passes the rounding unchanged
    (the straight-through estimator), so that it reaches "down"; codewords have none.

    Args:
        params: P, and with FSQ "down".
        books: the books.
        squeezed_BxTxL: `squeeze`.
    """
    codes_1xBxT = quantizer.assign(books["first"], squeezed_BxTxL[None])
    if "down" not in params:
        return codes_1xBxT, embed(params, books, codes_1xBxT)
    q_BxTxL = quantizer.codewords(books["first"])[0][codes_1xBxT[0]]
    straight_BxTxL = squeezed_BxTxL + jax.lax.stop_gradient(q_BxTxL - squeezed_BxTxL)
    return codes_1xBxT, project(params, straight_BxTxL)


def encode(
    params: PyTree, books: PyTree, h_BxTxD: jax.Array, z_BxTxE: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The codes, int32 [K, B, T], and what the books leave of z, float32 [B, T, E].

    Args:
        params: P, and with FSQ "down".
        books: the books.
        h_BxTxD: `state`.
        z_BxTxE: the conditioning of the decoder, E channels; float32.
    """
    first_1xBxT = quantizer.assign(books["first"], squeeze(params, books, h_BxTxD)[None])
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
