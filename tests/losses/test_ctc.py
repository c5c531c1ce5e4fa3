"""CTC agrees with PyTorch in values and gradients; texts that are too long have no loss."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.losses import ctc
from uniwav_jax.models.masking import frame_mask


def problem(seed=0, rows=6, frames=40, tokens=12, symbols=7):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((rows, frames, symbols + 1)).astype(np.float32) * 3
    frames_B = random.integers(2 * tokens, frames + 1, rows)
    lengths = random.integers(1, tokens + 1, rows)
    tokens_BxU = random.integers(1, symbols + 1, (rows, tokens))
    tokens_BxU[np.arange(tokens) >= lengths[:, None]] = -1
    tokens_BxU[0, :4] = tokens_BxU[0, 0]  # the same token four times
    return logits, frames_B, tokens_BxU


def of_rows(logits, frames_B, tokens_BxU):
    return ctc.loss(logits, frame_mask(jnp.asarray(frames_B), logits.shape[1]), tokens_BxU)


def test_values_and_gradients_equal_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="the oracle; see tests/requirements-oracles.txt")
    logits, frames_B, tokens_BxU = problem()
    theirs = torch.tensor(logits, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.maximum(tokens_BxU, 0)),
        torch.tensor(frames_B),
        torch.tensor((tokens_BxU >= 0).sum(1)),
        reduction="none",
    )
    losses.sum().backward()
    ours = of_rows(jnp.asarray(logits), frames_B, tokens_BxU)
    np.testing.assert_allclose(ours, losses.detach().numpy(), rtol=1e-5)
    gradient = jax.grad(lambda x: of_rows(x, frames_B, tokens_BxU).sum())(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-4)


def test_value_is_the_sum_over_all_paths():
    logits = np.random.default_rng(1).standard_normal((1, 4, 3)).astype(np.float32)
    log_probs = np.asarray(jax.nn.log_softmax(logits))[0]
    total = -np.inf
    for path in itertools.product(range(3), repeat=4):
        merged = [token for token, _ in itertools.groupby(path) if token]
        if merged == [2, 1]:
            total = np.logaddexp(total, sum(log_probs[t, token] for t, token in enumerate(path)))
    loss = of_rows(jnp.asarray(logits), np.array([4]), np.array([[2, 1, -1]]))
    np.testing.assert_allclose(loss, [-total], rtol=1e-5)


def test_texts_that_are_too_long_have_no_loss():
    """Texts that need more frames than there are have neither a loss nor a gradient."""
    logits = jnp.asarray(np.random.default_rng(2).standard_normal((4, 6, 4)), jnp.float32)
    tokens = np.array([[1, 1, 2, 3, -1], [1, 1, 1, 2, -1], [1, 2, 3, -1, -1], [-1] * 5])
    frames = np.array([5, 5, 0, 6])
    mask = frame_mask(jnp.asarray(frames), 6)
    assert ctc.needed_frames(tokens).tolist() == [5, 6, 3, 0]
    assert ctc.possible(mask, tokens).tolist() == [True, False, False, False]
    value, gradient = jax.value_and_grad(lambda x: ctc.loss(x, mask, tokens).sum())(logits)
    assert 0 < float(value) < 100
    assert np.isfinite(gradient).all() and not np.any(gradient[1:]) and np.any(gradient[0])
