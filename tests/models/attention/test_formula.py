"""Every implementation of attention agrees with NumPy; dropout and dtypes of the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.attention.cases import HEADS, LENGTHS, known
from uniwav_jax.models.attention import alibi_slopes, attend


def numpy_attention(q, k, v, slope):
    """Attention of one row and head without padding, float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    position = np.arange(len(q))
    logits = q @ k.T / np.sqrt(q.shape[-1]) - slope * np.abs(position[:, None] - position)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("positions", [None, "alibi"])
@pytest.mark.parametrize("name", ["xla", "heads", "chunk", "auto", "splash", "pallas"])
def test_equals_numpy_on_the_real_frames(inputs, name, positions):
    if name == "splash" and positions:
        return  # splash has no ALiBi; the configuration does not allow both
    q, k, v, mask = inputs
    function, slopes = known[name], np.zeros(HEADS)
    if positions:
        slopes = alibi_slopes(HEADS)
        function = functools.partial(function, slopes=slopes)
    out = function(q, k, v, mask)
    for b, n in enumerate(LENGTHS[:2]):
        for h in range(HEADS):
            wanted = numpy_attention(*(a[b, :n, h] for a in (q, k, v)), slopes[h])
            np.testing.assert_allclose(out[b, :n, h], wanted, atol=2e-6)
    assert np.isfinite(out).all()  # padding and the row without audio too


def test_dropout_keeps_the_mean():
    q = jnp.zeros((8, 300, 4, 4))
    mask = jnp.ones((8, 300), bool)
    out = attend(q, q, q + 1.0, mask, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert abs(out.mean() - 1) < 0.002
    assert 0.04 < out.std() < 0.08  # 1 / sqrt(300)


def test_softmax_of_bfloat16_attention_is_float32():
    q, mask = jnp.ones((1, 8, 1, 4), jnp.bfloat16), jnp.ones((1, 8), bool)
    for name in ("xla", "chunk"):
        program = str(jax.make_jaxpr(lambda a, f=known[name]: f(a, a, a, mask))(q))
        exponentials = [line for line in program.splitlines() if "= exp " in line]
        assert exponentials and all(":f32[" in line for line in exponentials)
        assert known[name](q, q, q, mask).dtype == jnp.bfloat16
