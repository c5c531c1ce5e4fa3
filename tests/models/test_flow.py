"""Flow Matching: path, target, loss, solvers, guidance and prompts agree with closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.models import flow, uniwav

RNG = np.random.default_rng(0)
X0, X1 = (RNG.normal(size=(3, 5, 4)).astype(np.float32) for _ in range(2))


@pytest.mark.parametrize("sigma", [1e-5, 0.1])
def test_path_runs_from_noise_to_data(sigma):
    start = flow.path(X0, X1, jnp.zeros(3), sigma)
    np.testing.assert_allclose(start, X0, atol=1e-7)
    end = flow.path(X0, X1, jnp.ones(3), sigma)
    np.testing.assert_allclose(end, X1 + sigma * X0, atol=1e-6)
    t = jnp.array([0.0, 0.25, 0.9])  # one time per row
    middle = flow.path(X0, X1, t, sigma)
    for row, time in enumerate(np.asarray(t)):
        expected = (1 - (1 - sigma) * time) * X0[row] + time * X1[row]
        np.testing.assert_allclose(middle[row], expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [1e-5, 0.1])
def test_target_is_the_derivative_of_the_path(sigma):
    t = jnp.array([0.1, 0.5, 1.0])
    _, derivative = jax.jvp(lambda time: flow.path(X0, X1, time, sigma), (t,), (jnp.ones(3),))
    np.testing.assert_allclose(flow.target(X0, X1, sigma), derivative, atol=1e-6)


def test_squared_error_counts_masked_frames_only():
    v, mask = RNG.normal(size=X0.shape).astype(np.float32), RNG.random((3, 5)) < 0.5
    expected = sum(
        ((v[b, t] - X1[b, t]) ** 2).mean() for b in range(3) for t in range(5) if mask[b, t]
    )
    loss = flow.squared_error_sum(jnp.asarray(v), X1, jnp.asarray(mask))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    half = flow.squared_error_sum(jnp.asarray(v, jnp.bfloat16), X1, jnp.asarray(mask))
    assert half.dtype == jnp.float32


A, B = -1.5, 0.7  # dx/dt = A x + B
START = np.array([-1.0, 0.5, 2.0], np.float32)
EXACT = (START + B / A) * np.exp(A) - B / A


def error(solver, steps):
    x1 = flow.integrate(lambda x, t: A * x + B, jnp.asarray(START), steps=steps, solver=solver)
    return np.abs(np.asarray(x1) - EXACT).max()


@pytest.mark.parametrize(
    ("solver", "order", "tolerance"), [("euler", 1, 0.1), ("midpoint", 2, 5e-3)]
)
def test_solver_converges_with_its_order(solver, order, tolerance):
    assert error(solver, 16) < tolerance
    ratio = error(solver, 8) / error(solver, 16)
    assert 2**order * 0.85 < ratio < 2**order * 1.3


def test_solver_passes_the_time_of_each_stage():
    # For dx/dt = 2 t midpoint is exact; Euler evaluates t = 0, 1/4, 2/4, 3/4.
    for solver, expected in (("midpoint", 1.0), ("euler", 0.75)):
        x1 = flow.integrate(lambda x, t: 2 * t + 0 * x, jnp.zeros(2), steps=4, solver=solver)
        np.testing.assert_allclose(x1, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def problem(make_config, scramble):
    config = make_config({"flow.solver": "euler", "flow.sample_steps": 1})
    params = scramble(jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 6)))
    keys = jax.random.split(jax.random.key(1), 2)
    known = jax.random.normal(keys[0], (2, 12, 6))
    z = jax.random.normal(keys[1], (2, 12, config.model.decoder.width))
    generate = (jnp.arange(12) >= 5)[None] & jnp.ones((2, 1), bool)
    return config, params, known, z, generate, jnp.ones((2, 12), bool)


sample = jax.jit(flow.sample, static_argnames=("config", "guidance"))


@functools.partial(jax.jit, static_argnums=0)
def velocity(config, params, x, t, z, mask):
    module = uniwav.decoder_module(config, x.shape[-1])
    return module.apply({"params": params["decoder"]}, x, jnp.full(len(x), t), z, mask)


def test_guidance_extrapolates_away_from_the_null_vector(problem):
    config, params, known, z, generate, mask = problem
    x0 = flow.noise(jax.random.key(7), known.shape)
    out = sample(params, z, known, generate, mask, x0, config, guidance=0.7)
    null = jnp.broadcast_to(params["condition"]["null"], z.shape)
    v = 1.7 * velocity(config, params, x0, 0.0, z, mask)
    v -= 0.7 * velocity(config, params, x0, 0.0, null, mask)
    expected = np.where(generate[..., None], x0 + v, known)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    default = sample(params, z, known, generate, mask, x0, config)
    same = sample(params, z, known, generate, mask, x0, config, guidance=0.5)
    np.testing.assert_array_equal(default, same)  # config.flow.guidance
    assert (default != out).any()


def test_prompt_is_unchanged_and_follows_its_path(problem, make_config):
    _, params, known, z, generate, mask = problem
    config = make_config({"flow.solver": "euler", "flow.sample_steps": 2})
    x0 = flow.noise(jax.random.key(7), known.shape)
    out = sample(params, z, known, generate, mask, x0, config, guidance=0.0)
    np.testing.assert_array_equal(out[:, :5], known[:, :5])
    # Two Euler steps by hand; at t = 1/2 the prompt lies half-way between noise and data.
    chosen = generate[..., None]
    middle = x0 + 0.5 * velocity(config, params, x0, 0.0, z, mask)
    middle = jnp.where(chosen, middle, 0.5 * x0 + 0.5 * known)
    end = middle + 0.5 * velocity(config, params, middle, 0.5, z, mask)
    np.testing.assert_allclose(out[:, 5:], end[:, 5:], rtol=1e-3, atol=1e-3)


def test_hidden_features_do_not_leak_into_the_sample(problem, make_config, scramble):
    _, _, known, z, generate, mask = problem
    config = make_config({"flow.context": True, "flow.sample_steps": 2})
    params = scramble(jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 6)))
    other = jnp.where(generate[..., None], 100.0, known)
    x0 = flow.noise(jax.random.key(7), known.shape)
    outputs = [sample(params, z, k, generate, mask, x0, config) for k in (known, other)]
    np.testing.assert_array_equal(*outputs)


def test_stratified_times_have_one_in_each_part_of_the_interval():
    times = np.asarray(flow.times(jax.random.key(0), 16, stratified=True))
    np.testing.assert_array_equal(np.sort(np.floor(times * 16)), np.arange(16))
    assert not (np.diff(times) > 0).all(), "their order is random"
    plain = np.asarray(flow.times(jax.random.key(0), 16, stratified=False))
    np.testing.assert_array_equal(plain, jax.random.uniform(jax.random.key(0), (16,)))


def test_more_frames_or_rows_do_not_change_the_noise():
    key = jax.random.key(5)
    small, large = flow.noise(key, (2, 7, 3)), flow.noise(key, (4, 50, 3))
    np.testing.assert_array_equal(small, large[:2, :7])
    assert abs(float(flow.noise(key, (8, 500, 3)).std()) - 1) < 0.02


def test_a_grid_that_sways_has_its_steps_near_the_noise():
    np.testing.assert_allclose(flow.grid(4, 0.0), [0, 0.25, 0.5, 0.75, 1])
    swayed = flow.grid(16, -1.0)  # 1 - cos(pi t / 2)
    np.testing.assert_allclose(swayed, 1 - np.cos(np.pi / 2 * np.arange(17) / 16), atol=1e-6)
    assert (np.diff(swayed, 2) > 0).all() and swayed[0] == 0 and swayed[-1] == 1


def test_the_temperature_scales_the_noise(problem, make_config):
    _, params, known, z, generate, mask = problem
    x0 = flow.noise(jax.random.key(7), known.shape)
    options = {"flow.solver": "euler", "flow.sample_steps": 2}
    cold = sample(
        params, z, known, generate, mask, x0, make_config({**options, "flow.temperature": 0.5})
    )
    np.testing.assert_array_equal(
        cold, sample(params, z, known, generate, mask, 0.5 * x0, make_config(options))
    )


def test_the_null_branch_sees_no_context(problem, make_config, scramble):
    """With guidance -1 only the null branch counts, so that the prompt does not matter."""
    _, _, known, z, generate, mask = problem
    config = make_config({"flow.context": True, "flow.solver": "euler", "flow.sample_steps": 1})
    params = scramble(jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 6)))
    x0 = flow.noise(jax.random.key(7), known.shape)
    first, second = (
        sample(params, z, k, generate, mask, x0, config, guidance=-1.0) for k in (known, -known)
    )
    np.testing.assert_allclose(first[:, 5:], second[:, 5:], atol=1e-6)


def test_the_error_of_zero_output_is_that_of_the_target_on_hidden_frames(make_config):
    """A fresh decoder outputs zero, so that its error is the mean square of u = x1 - (1 - s) x0."""
    config = make_config({"flow.sigma": 0.25})
    params = uniwav.init(jax.random.key(0), config, 6)
    x1, x0 = jax.random.normal(jax.random.key(1), (2, 2, 40, 6))
    hidden = jnp.arange(40) >= jnp.array([[5], [30]])
    masks = (jnp.ones_like(hidden), hidden, jnp.zeros(2, bool))
    z = jnp.zeros((2, 40, config.model.decoder.width))
    t = jnp.array([0.1, 0.7])
    got = flow.velocity_error(params["decoder"], x1, x0, t, z, masks, 10.0, None, config)
    u = np.asarray(x1 - 0.75 * x0)
    expected = np.square(u).mean(-1)[np.asarray(hidden)].sum() / 10
    np.testing.assert_allclose(got, expected, rtol=1e-5)
