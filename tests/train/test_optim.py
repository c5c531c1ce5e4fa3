"""Schedule, weight decay and clipping, compared with calculation by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import Config, OptimConfig, TrainConfig, default_config, from_dict
from uniwav_jax.models import uniwav
from uniwav_jax.parallel.mesh import path_string
from uniwav_jax.train import optim


def configuration(steps=1000, **changes):
    return dataclasses.replace(
        Config(), train=TrainConfig(steps=steps), optim=OptimConfig(**changes)
    )


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 1 / 30),  # the first update has a positive learning rate
        (14, 0.5),
        (29, 1.0),  # 3 % warm-up
        (30, 1.0),
        (499, 1.0),  # 47 % hold
        (500, 1.0),
        (750, 0.1),  # half-way in the exponential decay to 1 %
        (1000, 0.01),
    ],
)
def test_tri_stage_at_its_corners(step, share):
    schedule = optim.tri_stage(configuration(lr=2e-3))
    assert float(schedule(jnp.int32(step))) == pytest.approx(2e-3 * share, rel=1e-4)


def test_schedule_without_warm_up_starts_at_the_peak():
    schedule = optim.tri_stage(configuration(lr=1.0, warmup=0.0, hold=0.5, decay=0.5))
    assert float(schedule(0)) == 1.0


@pytest.fixture(scope="module")
def shapes():
    config = from_dict(default_config("tiny"))
    return jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 80))


def test_weight_decay_spares_norms_biases_and_embeddings(shapes):
    flags = {
        path_string(path): flag
        for path, flag in jax.tree_util.tree_leaves_with_path(optim.decays(shapes))
    }
    spared = {name.rsplit("/", 1)[-1] for name, flag in flags.items() if not flag}
    convolutions = {f"bias_{i}" for i in range(5)}
    learned_vectors = {"mask_vector", "null", "mix"}
    biases = {"bias", "qkv_bias", "position_bias"}
    assert spared == {"scale", "norm_scale"} | biases | convolutions | learned_vectors
    decaying = {name for name, flag in flags.items() if flag}
    assert {
        "heads/kernel",
        "condition/project/kernel",
        "encoder/project/kernel",
        "encoder/positions/kernel_0",
        "encoder/layers/attention/qkv_kernel",
        "encoder/layers/attention/out/kernel",
        "encoder/layers/up/kernel",
        "decoder/position_kernel",
        "decoder/layers_out/merge/kernel",
        "decoder/layers_in/modulation/kernel",
        "decoder/out/kernel",
    } <= decaying
    assert all("kernel" in name for name in decaying)


def test_first_update_equals_adamw_by_hand():
    config = configuration(lr=0.1, warmup=0.0, hold=0.5, decay=0.5, weight_decay=0.2)
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    grads = {"kernel": jnp.array([0.3, -0.1]), "bias": jnp.array([0.2])}  # norm 0.374: not clipped
    optimizer = optim.make(config)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    # Bias-corrected moments of the first step are g and g^2; decay is decoupled.
    for name, decay in (("kernel", 0.2), ("bias", 0.0)):
        g, p = np.asarray(grads[name]), np.asarray(params[name])
        expected = -0.1 * (g / (np.abs(g) + 1e-6) + decay * p)
        np.testing.assert_allclose(updates[name], expected, rtol=1e-4)


def test_second_update_uses_both_betas():
    config = configuration(lr=0.1, warmup=0.0, hold=1.0, decay=0.0, clip=1e9)
    params, optimizer = {"bias": jnp.array([1.0])}, optim.make(config)
    state = optimizer.init(params)
    for g in (0.5, -0.2):
        updates, state = optimizer.update({"bias": jnp.array([g])}, state, params)
    m = (0.9 * 0.1 * 0.5 + 0.1 * -0.2) / (1 - 0.9**2)
    v = (0.98 * 0.02 * 0.25 + 0.02 * 0.04) / (1 - 0.98**2)
    np.testing.assert_allclose(updates["bias"], [-0.1 * m / (np.sqrt(v) + 1e-6)], rtol=1e-4)


def test_gradients_are_clipped_by_their_global_norm():
    # Adam's first step is invariant to a common factor unless eps is large.
    config = configuration(lr=1.0, warmup=0.0, hold=0.5, decay=0.5, weight_decay=0.0, eps=1.0)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    optimizer = optim.make(config)
    for factor in (1.0, 100.0):  # the norm is 5, then 500, and is clipped to 1 in both cases
        grads = {"a": jnp.array([3.0 * factor]), "b": jnp.array([4.0 * factor])}
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        np.testing.assert_allclose(updates["a"], [-0.6 / 1.6], rtol=1e-4)
        np.testing.assert_allclose(updates["b"], [-0.8 / 1.8], rtol=1e-4)


def test_clip_0_leaves_gradients_as_they_are():
    config = configuration(
        lr=1.0, warmup=0.0, hold=0.5, decay=0.5, weight_decay=0.0, eps=1.0, clip=0.0
    )
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    optimizer = optim.make(config)
    updates, _ = optimizer.update(
        {"a": jnp.array([300.0]), "b": jnp.array([400.0])}, optimizer.init(params), params
    )
    np.testing.assert_allclose(updates["a"], [-300 / 301], rtol=1e-4)
    # A checkpoint may be resumed with and without clipping: the optimizer's tree is the same.
    clipped = optim.make(dataclasses.replace(config, optim=OptimConfig(clip=1.0)))
    assert jax.tree.structure(clipped.init(params)) == jax.tree.structure(optimizer.init(params))
