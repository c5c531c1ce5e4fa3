"""Shapes and padding of a codec's layers; values are compared with EnCodec's own in oracles/."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5000])
@pytest.mark.parametrize("causal", [False, True])
def test_frames_are_samples_over_hop_rounded_up(samples, causal):
    config = SEANetConfig(filters=2, dimension=4, causal=causal)
    model = Codec(config)

    def both(key, audio):
        variables = model.init(key, audio)
        z = model.apply(variables, audio, method="encode")
        return z, model.apply(variables, z, method="decode")

    z, audio = jax.eval_shape(both, jax.random.key(0), jnp.zeros((3, samples)))
    frames = -(-samples // 320)
    assert z.shape == (3, frames, 4) and audio.shape == (3, frames * 320)


def test_causal_output_does_not_know_the_future():
    config = SEANetConfig(filters=2, dimension=4, causal=True, padding="constant")
    model = Codec(config)
    audio = jax.random.normal(jax.random.key(1), (1, 3200))
    variables = jax.jit(model.init)(jax.random.key(0), audio)
    encode = jax.jit(functools.partial(model.apply, method="encode"))
    other = audio.at[:, 1600:].set(0.0)
    seen, unseen = (np.asarray(encode(variables, a)) for a in (audio, other))
    np.testing.assert_array_equal(seen[:, :5], unseen[:, :5])
    assert np.abs(seen[:, 5] - unseen[:, 5]).max() > 1e-4


def test_mirrored_padding_of_what_is_too_short():
    x = jnp.arange(1.0, 4.0)[None, :, None]
    assert layers.pad(x, 2, 1, "reflect").ravel().tolist() == [3, 2, 1, 2, 3, 2]
    # Two zeros are put behind, mirrored over, and cut off.
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
        left = kernel - stride  # trim_right 0 cuts all the surplus on the left
        np.testing.assert_allclose(out, full[:, left:], atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("filters", 0), ("ratios", ()), ("padding", "mirror"), ("kernel", 4), ("trim_right", 0.5)],
)
def test_bad_structure_names_the_field(field, value):
    with pytest.raises(UserError, match=field):
        SEANetConfig(**{field: value}).validate()
