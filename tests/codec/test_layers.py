"""Padding and transposed convolutions of codecs; tests/oracles compares layers with EnCodec's."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.codec import layers


def test_reflect_padding_of_inputs_that_are_too_short():
    x = jnp.arange(1.0, 4.0)[None, :, None]
    assert layers.pad(x, 2, 1, "reflect").ravel().tolist() == [3, 2, 1, 2, 3, 2]
    # Two zeros are appended before the reflection, and cut off after it.
    assert layers.pad(x, 4, 1, "reflect").ravel().tolist() == [0, 0, 3, 2, 1, 2, 3, 0]
    assert layers.pad(x, 1, 1, "constant").ravel().tolist() == [0, 1, 2, 3, 0]


def test_transposed_convolution_is_the_adjoint_of_the_convolution():
    """<up(x), y> = <x, down(y)> without trimming, padding and bias, for grouped channels too."""
    for kernel, stride, groups in ((4, 2, 1), (10, 5, 2), (8, 2, 4)):
        up = layers.Upsampling(8, stride, kernel, groups=groups, causal=True, trim_right=0.0)
        x = jax.random.normal(jax.random.key(0), (2, 11, 8))
        weights = up.init(jax.random.key(1), x)["params"]["kernel"]
        full = np.zeros((2, 10 * stride + kernel, 8))
        per = 8 // groups
        for t in range(11):
            for k in range(kernel):
                for g in range(groups):
                    ours = slice(g * per, (g + 1) * per)
                    full[:, t * stride + k, ours] += x[:, t, ours] @ weights[k][:, ours]
        out = up.apply({"params": {"kernel": weights, "bias": jnp.zeros(8)}}, x)
        left = kernel - stride  # with trim_right 0 all extra steps are cut at the start
        np.testing.assert_allclose(out, full[:, left:], atol=1e-5)
