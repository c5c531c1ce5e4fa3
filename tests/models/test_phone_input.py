"""Phones of frames: every frame has the embedding of its phone."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.models import phone_input
from uniwav_jax.text import phones

WIDTH = 6


def test_frames_have_the_embedding_of_their_phone():
    """Also where padding follows, where there is none, and with a phone without frames."""
    tables = phone_input.init(jax.random.key(0), phones=3, width=WIDTH)
    vocabulary = phones.Vocabulary(["a", "b", "sil"])
    row = [vocabulary.number(symbol) for symbol in ("sil", "a_B", "b_E")]
    numbers = jnp.array([[*row, -1], [*row, row[0]]])
    ends = jnp.array([[2, 2, 5, -1], [1, 3, 4, 6]])
    place = phone_input.of_frames(ends, 7)
    embedded = phone_input.embed(tables, numbers)
    got = np.asarray(phone_input.spread(embedded, place))
    for row, counts in ((0, [2, 0, 3]), (1, [1, 2, 1, 2])):
        expected = np.repeat(np.asarray(embedded[row])[: len(counts)], counts, axis=0)
        np.testing.assert_array_equal(got[row, : sum(counts)], expected)
        assert (got[row, sum(counts) :] == 0).all()


def test_the_embedding_is_the_sum_of_three():
    tables = phone_input.init(jax.random.key(0), phones=2, width=WIDTH)
    number = phones.Vocabulary(["AH", "T"]).number("AH1_E")
    expected = tables["phone"][0] + tables["stress"][2] + tables["place"][3]
    np.testing.assert_allclose(phone_input.embed(tables, jnp.array([[number]]))[0, 0], expected)
