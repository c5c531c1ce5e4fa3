"""Statistics of dropout, and its independence of sharding."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.models import dropout
from uniwav_jax.models.dropout import dropout as drop


def mask(rate=0.1, key=0, shape=(1000, 1000)):
    """True where an element was kept."""
    return np.asarray(drop(jnp.ones(shape), rate, jax.random.key(key)) != 0)


def test_depends_on_the_key_only_and_scales_kept_elements():
    x, key = jnp.ones((100, 100)), jax.random.key(0)
    np.testing.assert_array_equal(drop(x, 0.3, None), x)
    np.testing.assert_array_equal(drop(x, 0.0, key), x)
    dropped = drop(x, 0.3, key)
    np.testing.assert_array_equal(dropped, drop(x, 0.3, key))
    assert (dropped != drop(x, 0.3, jax.random.key(1))).any()
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)


def test_drops_the_wanted_share_everywhere():
    for rate in (0.05, 0.1, 0.5):
        dropped = ~mask(rate)
        # Five standard deviations of a binomial count.
        assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / 1e6)
        for axis in (0, 1):
            spread = dropped.mean(axis).std() / np.sqrt(rate * (1 - rate) / 1000)
            assert 0.9 < spread < 1.1  # the spread of independent samples


def test_elements_and_keys_are_uncorrelated():
    first, second = (mask(0.5, key).astype(np.float64) - 0.5 for key in (0, 1))
    bound = 5 * 0.25 / 1000  # five standard deviations of the mean product
    assert abs((first * second).mean()) < bound
    for shift in ((0, 1), (0, 2), (1, 0), (1, 1), (16, 0), (0, 256)):
        assert abs((first * np.roll(first, shift, (0, 1))).mean()) < bound
    # All sixteen patterns of four neighbours are equally frequent.
    fours = (first > 0).reshape(-1, 4) @ np.array([8, 4, 2, 1])
    counts = np.bincount(fours, minlength=16)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 50  # chi-square, 15 degrees


def test_sharding_does_not_change_what_is_dropped():
    devices = jax.devices()[:4]
    assert len(devices) == 4
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = jnp.ones((8, 50))
    whole = jax.jit(lambda x: drop(x, 0.3, jax.random.key(0)))(x)
    parts = jax.jit(lambda x: drop(x, 0.3, jax.random.key(0)))(jax.device_put(x, split))
    np.testing.assert_array_equal(whole, parts)


def test_bits_cost_no_more_than_a_few_operations():
    index = jnp.zeros(8, jnp.uint32)
    program = jax.make_jaxpr(lambda i: dropout.kept(jnp.zeros(2, jnp.uint32), i, 0.1))(index)
    assert len(program.eqns) < 25  # threefry has over a hundred
