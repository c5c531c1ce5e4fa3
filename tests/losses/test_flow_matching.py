"""The probability path in closed form, the loss against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.losses import flow_matching

RNG = np.random.default_rng(0)
X0, X1 = (RNG.normal(size=(3, 5, 4)).astype(np.float32) for _ in range(2))


@pytest.mark.parametrize("sigma", [1e-5, 0.1])
def test_path_runs_from_noise_to_data(sigma):
    start = flow_matching.path(X0, X1, jnp.zeros(3), sigma)
    np.testing.assert_allclose(start, X0, atol=1e-7)
    end = flow_matching.path(X0, X1, jnp.ones(3), sigma)
    np.testing.assert_allclose(end, X1 + sigma * X0, atol=1e-6)
    t = jnp.array([0.0, 0.25, 0.9])  # one time per row
    middle = flow_matching.path(X0, X1, t, sigma)
    for row, time in enumerate(np.asarray(t)):
        expected = (1 - (1 - sigma) * time) * X0[row] + time * X1[row]
        np.testing.assert_allclose(middle[row], expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [1e-5, 0.1])
def test_target_is_the_derivative_of_the_path(sigma):
    t = jnp.array([0.1, 0.5, 1.0])
    _, derivative = jax.jvp(
        lambda time: flow_matching.path(X0, X1, time, sigma), (t,), (jnp.ones(3),)
    )
    np.testing.assert_allclose(flow_matching.target(X0, X1, sigma), derivative, atol=1e-6)


def test_squared_error_counts_masked_frames_only():
    v, mask = RNG.normal(size=X0.shape).astype(np.float32), RNG.random((3, 5)) < 0.5
    expected = sum(
        ((v[b, t] - X1[b, t]) ** 2).mean() for b in range(3) for t in range(5) if mask[b, t]
    )
    loss = flow_matching.squared_error_sum(jnp.asarray(v), X1, jnp.asarray(mask))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    half = flow_matching.squared_error_sum(jnp.asarray(v, jnp.bfloat16), X1, jnp.asarray(mask))
    assert half.dtype == jnp.float32
