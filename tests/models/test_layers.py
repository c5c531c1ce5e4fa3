"""Building blocks agree with NumPy and `jax.lax`, and have their defining properties."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.models import layers


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("form", ["grouped", "merged", "blocked"])
@pytest.mark.parametrize("frames", [1, 7, 18, 50])
@pytest.mark.parametrize(("size", "groups"), [(1, 1), (3, 4), (19, 2), (19, 8)])
def test_convolutions_equal_that_of_xla(form, frames, size, groups):
    width = 8
    x, kernel = noise(2, frames, width), noise(size, width // groups, width, seed=1)
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding="SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
        precision="highest",
    )
    out = getattr(layers, f"{form}_convolution")(x, kernel, groups)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_gelu():
    x = jnp.linspace(-12, 12, 4001)
    np.testing.assert_allclose(layers.gelu(x), jax.nn.gelu(x, approximate=False), atol=1e-6)
    slope = jax.vmap(jax.grad(lambda x: jax.nn.gelu(x, approximate=False)))(x)
    np.testing.assert_allclose(jax.vmap(jax.grad(layers.gelu))(x), slope, atol=1e-6)
    half = x.astype(jnp.bfloat16)
    assert (layers.gelu(half) == layers.gelu(half.astype(jnp.float32)).astype(jnp.bfloat16)).all()
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(layers.gelu, x)[1], half))
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [(half.shape, half.dtype)]


def test_merged_groups_do_not_exceed_the_matrix_unit():
    for width, groups, expected in ((768, 16, 8), (1024, 16, 8), (384, 16, 4), (2048, 16, 16)):
        kernel = jnp.zeros((3, width // groups, width))
        program = str(
            jax.make_jaxpr(lambda x, k, g=groups: layers.merged_convolution(x, k, g))(
                jnp.zeros((1, 5, width)), kernel
            )
        )
        assert f"feature_group_count={expected}" in program


@pytest.mark.parametrize("size", [1, 7, 31])
def test_depthwise_convolution_equals_numpy(size):
    x, kernel = np.asarray(noise(2, 12, 3)), np.asarray(noise(size, 3, seed=1))
    expected = np.zeros_like(x)
    for b in range(2):
        for c in range(3):
            # The kernel is reversed, because NumPy convolves while networks correlate.
            full = np.convolve(x[b, :, c], kernel[::-1, c])
            expected[b, :, c] = full[size // 2 : size // 2 + 12]
    out = layers.depthwise_convolution(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_convolutional_positions_ignore_values_on_padding():
    module = layers.ConvolutionalPositions(2, 5, 2, jnp.float32)
    x, mask = noise(1, 12, 8), jnp.arange(12)[None] < 8
    params = module.init(jax.random.key(0), x, mask)
    clean = module.apply(params, x, mask)
    dirty = module.apply(params, x.at[:, 8:].set(1e3), mask)
    np.testing.assert_array_equal(clean[:, :8], dirty[:, :8])
    short = module.apply(params, x[:, :8], mask[:, :8])
    np.testing.assert_allclose(clean[:, :8], short, atol=1e-5)


def test_rotary_dot_product_depends_on_the_distance_only():
    q, k = noise(8), noise(8, seed=1)
    everywhere = jnp.broadcast_to(q, (1, 30, 1, 8)), jnp.broadcast_to(k, (1, 30, 1, 8))
    q_turned, k_turned = (np.asarray(layers.rotate(a))[0, :, 0] for a in everywhere)
    dots = q_turned @ k_turned.T
    for distance in (-5, 0, 3):
        diagonal = np.diagonal(dots, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
    assert abs(dots[0, 3] - dots[0, 0]) > 1e-2  # the distance has an effect
    np.testing.assert_allclose(q_turned[0], q, rtol=1e-6)  # position 0 is not rotated
    norms = np.linalg.norm(q_turned, axis=-1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-5)


def test_rotary_first_pair_turns_by_one_radian_per_frame():
    x = jnp.zeros((1, 3, 1, 4)).at[..., 0].set(1.0)
    turned = layers.rotate(x)[0, :, 0]
    for t in range(3):
        np.testing.assert_allclose(turned[t], [math.cos(t), 0, math.sin(t), 0], atol=1e-6)


def test_norms_equal_numpy_and_compute_in_float32():
    x = 5 + 3 * np.asarray(noise(4, 16))
    centred = x - x.mean(-1, keepdims=True)
    np.testing.assert_allclose(
        layers.plain_layer_norm(x), centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5), atol=1e-5
    )
    np.testing.assert_allclose(
        layers.rms_norm(x), x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6), atol=1e-5
    )
    half = jnp.asarray(x, jnp.bfloat16)
    assert layers.plain_layer_norm(half).dtype == layers.rms_norm(half).dtype == jnp.float32
