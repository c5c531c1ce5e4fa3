"""Codes of a frozen encoder and what the decoder reads in their place, beside NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.tasks import test_pretrain
from uniwav_jax.models import layers, quantizer, speech_tokens
from uniwav_jax.models.encoder import EncoderOutput

WIDTH, WORDS, BOOKS = 32, 16, 3
# Without init_from the configuration would be refused: the encoder is frozen.
SMALL = {
    "task": "tokenizer",
    "init_from": "elsewhere",
    "tokenizer.layer": 2,
    "tokenizer.books": BOOKS,
    "tokenizer.codewords": WORDS,
}


def problem():
    config = test_pretrain.make_config(SMALL)
    keys = jax.random.split(jax.random.key(0), 4)
    params = test_pretrain.noisy(speech_tokens.init(keys[0], config))
    books = test_pretrain.noisy(speech_tokens.init_books(keys[1], config))
    h = jax.random.normal(keys[2], (2, 7, WIDTH))
    return config, params, books, h, jax.random.normal(keys[3], h.shape)


def test_codes_and_what_is_read_equal_a_loop():
    _, params, books, h, z = problem()
    codes, left = speech_tokens.encode(params, books, h, z)
    words = [np.asarray(quantizer.codewords(books["first"])[0])]
    words += list(np.asarray(quantizer.codewords(books["later"])))
    for row, frame in np.ndindex(2, 7):
        first = np.square(words[0] - h[row, frame]).sum(-1).argmin()
        read = words[0][first] @ params["kernel"] + params["bias"]
        assert codes[0, row, frame] == first
        for book in (1, 2):
            rest = np.asarray(z[row, frame] - read)
            code = np.square(words[book] - rest).sum(-1).argmin()
            assert codes[book, row, frame] == code
            read = read + words[book][code]
        np.testing.assert_allclose(left[row, frame], z[row, frame] - read, atol=1e-5)
    for count in range(1, BOOKS + 1):
        got = speech_tokens.embed(params, books, codes[:count])
        rest = z - got
        assert got.shape == z.shape and (count < BOOKS or np.allclose(rest, left, atol=1e-5))


def test_one_book_needs_no_others():
    _, params, books, h, z = problem()
    alone = {"first": books["first"]}
    codes, _ = speech_tokens.encode(params, alone, h, z)
    np.testing.assert_array_equal(codes, speech_tokens.encode(params, books, h, z)[0][:1])
    single = test_pretrain.make_config({**SMALL, "tokenizer.books": 1})
    assert jax.eval_shape(lambda: speech_tokens.init_books(jax.random.key(0), single)).keys() == {
        "first"
    }


def test_the_layer_is_normalised():
    states = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), (2, 1, 5, WIDTH))
    encoded = EncoderOutput(states[0] + 1, states, states, states[-1])
    np.testing.assert_array_equal(
        speech_tokens.state(encoded, 2), layers.plain_layer_norm(states[1])
    )
    np.testing.assert_array_equal(
        speech_tokens.state(encoded, 0), layers.plain_layer_norm(encoded.embedding)
    )
    assert jnp.allclose(speech_tokens.state(encoded, 1).std(-1), 1.0, atol=1e-3)
