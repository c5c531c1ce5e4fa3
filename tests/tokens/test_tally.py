"""Rates over several clips agree with hand computation."""

import math

import numpy as np
import pytest

from tests.tokens.examples import random_tokens
from uniwav_jax.tokens.tally import Tally


def clip(*codes, **fields):
    matrix = np.stack(codes, axis=1)
    given = {"codes": matrix, "book_sizes": [1024] * len(codes), "prompt": None, "samples": 3200}
    return random_tokens(np.random.default_rng(0), **given, **fields)


def test_rates():
    """Runs of book 1: codes 7 and 8 equally often, lengths 4, 4 and 2, 2: 2 bits for each."""
    tally = Tally()
    tally.add(clip(np.repeat([7, 8], [4, 2]), np.zeros(6, int)))
    tally.add(clip(np.repeat([8, 7], [4, 2]), np.full(6, 1)))
    assert tally.clips == 2 and tally.seconds == pytest.approx(0.4)
    assert tally.payload == 1000.0
    assert tally.entropy == pytest.approx(50 * (1 + 1))
    # Book 2: two runs of one length and of two codes.
    assert tally.run_entropy == pytest.approx(50 * (4 * 2 + 2 * 1) / 12)
    assert tally.counts[1].sum() == 12 and len(tally.counts[1]) == 1024


def test_pooled_entropy_of_random_codes_reaches_the_payload():
    tally, rng = Tally(), np.random.default_rng(0)
    for _ in range(100):
        tokens = clip(rng.integers(0, 1024, 500))
        assert tokens.entropy <= 50 * math.log2(500)
        tally.add(tokens)
    assert tally.entropy == pytest.approx(tally.payload, rel=0.01) and tally.payload == 500.0
    assert tally.run_entropy == pytest.approx(tally.payload, rel=0.01)


def test_prompts_and_damage():
    tally = Tally()
    assert tally.entropy == tally.run_entropy == tally.payload == 0.0
    damaged = np.array([[False], [True], [False]])
    tally.add(clip(np.array([1, 0, 1]), damaged=damaged))
    tally.add(random_tokens(np.random.default_rng(0), book_sizes=[1024], frames=0, prompt=[[0.0]]))
    assert tally.prompt_bytes == 2 and tally.frames == 3
    assert tally.counts[0].sum() == 2 and tally.entropy == 0.0
