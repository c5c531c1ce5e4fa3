"""Shapes of each scale, and strided convolutions; tests/oracles compares with EnCodec."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.models.discriminator import Convolution, Discriminator


def test_logits_and_features_of_each_scale():
    shapes = jax.eval_shape(
        lambda key, audio: Discriminator((256, 512), 4).init_with_output(key, audio)[0],
        jax.random.key(0),
        jnp.zeros((2, 3000)),
    )
    logits, features = shapes
    for window, logit, maps in zip((256, 512), logits, features, strict=True):
        steps, bins = 1 + (3000 - window) // (window // 4), window // 2 + 1
        halved = [bins, -(-bins // 2), -(-bins // 4), -(-bins // 8), -(-bins // 8)]
        assert [m.shape for m in maps] == [(2, steps, b, 4) for b in halved]
        assert logit.shape == (2, steps, halved[-1])


@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution_equals_a_strided_convolution_of_xla(dilation):
    h = jax.random.normal(jax.random.key(0), (1, 7, 33, 2))
    layer = Convolution(3, kernel=(3, 9), stride=2, dilation=dilation)
    variables = layer.init(jax.random.key(1), h)
    expected = jax.lax.conv_general_dilated(
        h,
        variables["params"]["kernel"],
        window_strides=(1, 2),
        padding=((dilation, dilation), (4, 4)),
        rhs_dilation=(dilation, 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(layer.apply(variables, h), expected, atol=1e-5)
