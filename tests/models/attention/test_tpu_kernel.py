"""Our TPU kernel, interpreted: groups of heads, bfloat16, and undefined memory as on a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas import tpu

from tests.models.attention.cases import FRAMES, WIDTH, known, real
from uniwav_jax.models.attention import alibi_slopes, tpu_kernel


def test_groups_of_heads_that_fill_registers():
    """In two groups of two heads of 64, each head reads its own lanes, slope and dropout bits."""
    q, k, v, weight = jax.random.normal(jax.random.key(4), (4, 1, 140, 4, 64))
    mask = jnp.arange(140)[None] < 130
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1), "slopes": alibi_slopes(4)}

    def run(name):
        def total(*arrays):
            return (real(known[name](*arrays, mask, **options), mask) * weight).sum()

        return jax.grad(total, argnums=(0, 1, 2))(q, k, v)

    for a, b in zip(run("xla"), run("pallas"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_bfloat16_is_as_exact_as_the_formula(inputs):
    *qkv, mask = inputs
    halves = [a.astype(jnp.bfloat16) for a in qkv]

    def run(name, *arrays):
        def total(*arrays):
            return jnp.square(real(known[name](*arrays, mask), mask).astype(jnp.float32)).sum()

        return jax.grad(total, argnums=(0, 1, 2))(*arrays)

    found = (run("xla", *qkv), run("xla", *halves), run("pallas", *halves))
    for exact, a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype == jnp.bfloat16
        off = [np.square(np.asarray(x, np.float32) - exact).mean() ** 0.5 for x in (a, b)]
        assert off[1] < 1.25 * off[0] < 0.01 * np.square(exact).mean() ** 0.5


def test_blocks_beyond_the_end_of_a_row_do_not_count(monkeypatch):
    """The last of several blocks of queries reaches beyond the row's end, where memory is NaN."""
    monkeypatch.setattr(tpu_kernel, "BLOCK", 384 * 128)
    assert tpu_kernel._block(384) == 128
    q, k, v = jax.random.normal(jax.random.key(3), (3, 1, FRAMES, 1, WIDTH))
    mask = jnp.ones((1, FRAMES), bool)

    def gradients(name, **options):
        def total(*arrays):
            return jnp.square(known[name](*arrays, mask, **options)).sum()

        return jax.grad(total, argnums=(0, 1, 2))(q, k, v)

    found = gradients("pallas", interpret=tpu.InterpretParams(uninitialized_memory="nan"))
    for a, b in zip(gradients("xla"), found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(a).max())
