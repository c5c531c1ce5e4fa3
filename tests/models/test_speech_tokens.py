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


def test_finite_scalar_codes_are_roundings():
    """Each number is rounded to its nearest level; the later books read what that leaves of z."""
    levels = (4, 3, 2)
    config = test_pretrain.make_config(
        {**SMALL, "tokenizer.levels": levels, "tokenizer.codewords": 24}
    )
    keys = jax.random.split(jax.random.key(1), 4)
    books = speech_tokens.init_books(keys[0], config)
    params = test_pretrain.noisy(speech_tokens.init(keys[1], config))
    h, z = (jax.random.normal(key, (2, 50, WIDTH)) for key in keys[2:])
    assert params["down"]["kernel"].shape == (WIDTH, 3) and params["kernel"].shape == (3, WIDTH)
    assert books["first"]["sums"].shape == (1, 24, 3) and books["later"]["sums"].shape[1] == 24
    codes, left = speech_tokens.encode(params, books, h, z)
    numbers = np.tanh(np.asarray(h) @ params["down"]["kernel"] + params["down"]["bias"])
    most = np.array(levels) - 1
    steps = np.rint((numbers + 1) / 2 * most).astype(int)
    np.testing.assert_array_equal(codes[0], np.ravel_multi_index(np.moveaxis(steps, -1, 0), levels))
    assert len(np.unique(codes[0])) > 12
    read = (steps - most / 2) @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(speech_tokens.embed(params, books, codes[:1]), read, atol=1e-5)
    np.testing.assert_allclose(
        left, z - speech_tokens.embed(params, books, codes), rtol=1e-5, atol=1e-5
    )

    # The gradient passes the rounding as if it were not there.
    def product(params, rounded):
        squeezed = speech_tokens.squeeze(params, books, h)
        same, got = speech_tokens.first(params, books, squeezed)
        smooth = speech_tokens.project(params, squeezed)
        return ((got if rounded else smooth) * z).sum(), (same, got)

    gradient = jax.grad(product, has_aux=True)
    (found, (same, got)), (smooth, _) = gradient(params, True), gradient(params, False)
    np.testing.assert_array_equal(same, codes[:1])
    np.testing.assert_allclose(got, read, atol=1e-5)
    np.testing.assert_allclose(found["down"]["kernel"], smooth["down"]["kernel"], rtol=1e-4)
    assert jnp.any(found["down"]["kernel"]) and jnp.any(found["kernel"])
    fresh = speech_tokens.init(keys[1], config)  # no gradient would pass a P of 0
    assert jnp.any(fresh["kernel"]) and jnp.any(fresh["down"]["kernel"])


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
