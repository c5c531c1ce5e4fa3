"""Tokens check their fields, and their rates agree with hand computation."""

import dataclasses

import numpy as np
import pytest

from tests.tokens.examples import MODEL
from uniwav_jax.errors import UserError
from uniwav_jax.tokens.value import Tokens

GOOD = {
    "codes": np.array([[0, 5], [1, 5], [2, 5], [3, 5]]),
    "book_sizes": (1024, 4),
    "sample_rate": 16000,
    "hop": 320,
    "samples": 1200,
    "model": MODEL,
}


def tokens(**fields) -> Tokens:
    return Tokens(**(GOOD | {"book_sizes": (1024, 8)} | fields))


def test_rates():
    clip = tokens(prompt=np.ones((150, 10)), text="a")
    assert (clip.frame_rate, clip.duration, clip.books) == (50.0, 0.075, 2)
    assert clip.bits_per_second == 50 * (10 + 3)
    assert clip.entropy == pytest.approx(50 * 2)  # four frequent codes, and one
    assert clip.prompt_bits == 16 * 1500 and tokens().prompt_bits == 0
    assert clip.prompt.dtype == np.float16
    assert tokens(book_sizes=(1000, 8)).bits_per_second == pytest.approx(50 * 12.965784)


def test_damaged_frames_do_not_count_in_the_entropy():
    damaged = np.zeros((4, 2), bool)
    damaged[2:, 0] = True
    assert tokens(damaged=damaged).entropy == pytest.approx(50)


def test_dtypes_follow_the_books():
    assert tokens().codes.dtype == np.int16
    assert tokens(book_sizes=(32768, 8)).codes.dtype == np.int16
    assert tokens(book_sizes=(32769, 8)).codes.dtype == np.int32
    assert tokens(codes=np.zeros((0, 2), np.uint8)).codes.shape == (0, 2)
    assert not tokens().damaged.any() and tokens().damaged.shape == (4, 2)


def test_first_books():
    first = tokens(damaged=np.eye(4, 2, dtype=bool)).first(1)
    assert first.book_sizes == (1024,) and first.codes.tolist() == [[0], [1], [2], [3]]
    assert first.damaged.tolist() == [[True], [False], [False], [False]]
    for books in (0, 3):
        with pytest.raises(UserError, match=f"the clip has 2 books, not {books}"):
            tokens().first(books)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (GOOD, "codes of 0 to .3, 5. do not fit books of .1024, 4."),
        ({"codes": -GOOD["codes"]}, "codes of -5 to"),
        ({"codes": np.zeros((4, 3), int)}, r"integers \[frames, 2\]; got int64 \(4, 3\)"),
        ({"codes": np.zeros((4, 2))}, "got float64"),
        ({"codes": np.zeros(4, int)}, r"got int64 \(4,\)"),
        ({"book_sizes": ()}, "book_sizes are 2 to"),
        ({"book_sizes": (1024, 1)}, "book_sizes are 2 to"),
        ({"hop": 0}, "hop is 0, but must be an integer from 1"),
        ({"sample_rate": 16000.0}, "sample_rate is 16000.0"),
        ({"samples": -1}, "samples is -1"),
        ({"model": "12"}, "model is '12', but must be 16 hexadecimal digits"),
        ({"model": MODEL.upper()}, "16 hexadecimal"),
        ({"damaged": np.zeros((4, 1), bool)}, r"damaged is \(4, 1\)"),
        ({"prompt": np.zeros(3)}, "prompt is finite float16"),
        ({"prompt": np.full((3, 3), 1e6)}, "prompt is finite float16"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        tokens(**fields)


def test_tokens_of_another_model():
    tokens().check_model(MODEL, name="a.uwt")
    with pytest.raises(UserError, match=f"^a.uwt .* {MODEL}, but this is model {'1' * 16}"):
        tokens().check_model("1" * 16, name="a.uwt")


def test_tokens_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tokens().hop = 1
