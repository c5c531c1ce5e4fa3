"""The cross-entropy over codewords agrees with NumPy."""

import jax.numpy as jnp
import numpy as np

from uniwav_jax.losses import self_distillation

BOOKS, ROWS, FRAMES, WORDS = 3, 2, 7, 11
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (BOOKS, ROWS, FRAMES, WORDS)).astype(np.float32)
CODES = RNG.integers(0, WORDS, (BOOKS, ROWS, FRAMES))
MASK = RNG.random((ROWS, FRAMES)) < 0.5
PROBABILITY = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


def test_cross_entropy_is_summed_over_frames_and_averaged_over_books():
    expected = 0.0
    for k in range(BOOKS):
        for b, t in np.argwhere(MASK):
            expected -= np.log(PROBABILITY[k, b, t, CODES[k, b, t]]) / BOOKS
    loss = self_distillation.cross_entropy_sum(LOGITS, jnp.asarray(CODES), jnp.asarray(MASK))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_uniform_prediction_has_the_loss_log_of_codewords():
    loss = self_distillation.cross_entropy_sum(jnp.zeros_like(LOGITS), jnp.asarray(CODES), MASK)
    np.testing.assert_allclose(loss / MASK.sum(), np.log(WORDS), rtol=1e-6)


def test_bfloat16_logits_are_reduced_in_float32():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    loss = self_distillation.cross_entropy_sum(logits, jnp.asarray(CODES), MASK)
    assert loss.dtype == jnp.float32
    exact = self_distillation.cross_entropy_sum(
        logits.astype(jnp.float32), jnp.asarray(CODES), MASK
    )
    np.testing.assert_allclose(loss, exact, rtol=1e-6)


def test_mean_prediction_sums_the_softmax_over_masked_frames():
    expected = PROBABILITY[:, MASK].sum(1)
    np.testing.assert_allclose(
        self_distillation.mean_prediction(LOGITS, jnp.asarray(MASK)), expected, rtol=1e-5
    )
