"""All implementations of attention agree: gradients, dropout, meshes, platforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.attention.cases import FRAMES, HEADS, ROWS, known, pallas, real
from uniwav_jax.errors import UserError
from uniwav_jax.models.attention import alibi_slopes, attend, fused


@pytest.mark.parametrize("name", ["heads", "chunk", "auto", "splash", "pallas"])
def test_gradients_equal_those_of_the_formula(inputs, name):
    q, k, v, mask = inputs

    def total(function, *arrays):
        return jnp.square(real(function(*arrays, mask), mask)).sum()

    wanted = jax.grad(functools.partial(total, known["xla"]), argnums=(0, 1, 2))(q, k, v)
    found = jax.grad(functools.partial(total, known[name]), argnums=(0, 1, 2))(q, k, v)
    for a, b in zip(wanted, found, strict=True):
        scale = np.abs(a).max()
        assert scale > 0.1
        np.testing.assert_allclose(a / scale, b / scale, atol=2e-6)


@pytest.mark.parametrize("name", ["chunk", "pallas"])
def test_all_drop_the_same_weights(inputs, name):
    q, k, v, mask = inputs
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
    options["slopes"] = alibi_slopes(HEADS)

    def run(name):
        def total(*arrays):
            return jnp.square(real(known[name](*arrays, mask, **options), mask)).sum()

        return jax.value_and_grad(total, argnums=(0, 1, 2))(q, k, v)

    (a, wanted), (b, found) = run("xla"), run(name)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for x, y in zip(wanted, found, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(x).max())
    without = jnp.square(real(attend(q, k, v, mask, slopes=options["slopes"]), mask)).sum()
    assert abs(a - without) > 0.01 * without


def test_a_row_without_audio_has_a_finite_gradient(inputs):
    q, k, v, _ = inputs
    nothing = jnp.zeros((ROWS, FRAMES), bool)
    for name in ("xla", "heads", "chunk", "splash", "pallas"):
        grads = jax.grad(lambda *a, f=known[name]: f(*a, nothing).sum(), argnums=(0, 1, 2))(q, k, v)
        assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("name", ["heads", "splash", "pallas"])
def test_kernels_run_on_each_devices_rows_and_heads(inputs, name):
    """On a mesh a kernel runs on each device; rows or heads that do not divide are not split."""
    q, k, v, mask = (jnp.concatenate([a, a[:1]]) for a in inputs)
    function = known[name]
    if name == "pallas":  # the mesh must not change which weights are dropped
        options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
        options["slopes"] = alibi_slopes(HEADS)
        function = functools.partial(pallas, **options)
    wanted = function(q, k, v, mask)
    for sizes in ((2, 1, 2), (1, 4, 1), (3, 1, 1), (1, 1, 4)):
        devices = np.array(jax.devices()[: np.prod(sizes)]).reshape(sizes)
        mesh = jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"))
        with jax.set_mesh(mesh):
            out = jax.jit(function)(q, k, v, mask)
        np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_pallas_rejects_rows_that_are_too_long():
    q = jnp.zeros((1, fused.LONGEST + 1, 1, 4))
    with pytest.raises(UserError, match="at most 4096 frames, got 4097"):
        pallas(q, q, q, jnp.ones((1, fused.LONGEST + 1), bool))


@pytest.mark.parametrize(
    ("name", "platform", "need"),
    [("cudnn", "gpu", "an NVIDIA GPU"), ("splash", "tpu", "a TPU"), ("pallas", "tpu", "a TPU")],
)
def test_kernels_run_on_their_platform_or_name_it(inputs, name, platform, need):
    """On the kernel's platform this test runs the kernel; elsewhere it checks the message."""
    if jax.default_backend() != platform:
        with pytest.raises(UserError, match=f"{name} needs {need}.*found cpu"):
            attend(*inputs, implementation=name)
        return
    *qkv, mask = inputs
    halves = [a.astype(jnp.bfloat16) for a in qkv]
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)} if name == "pallas" else {}

    def run(implementation):
        def total(*arrays):
            out = attend(*arrays, mask, implementation=implementation, **options)
            return jnp.square(real(out, mask).astype(jnp.float32)).sum()

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*halves)

    for a, b in zip(jax.tree.leaves(run("xla")), jax.tree.leaves(run(name)), strict=True):
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=0.02 * np.abs(a).max())


@pytest.mark.parametrize("chip", ["v5e:2x2", "v6e:2x2"])
def test_compiles_to_kernels_for_tpu(chip, monkeypatch):
    pytest.importorskip("libtpu", reason="needs the extra tpu: the compiler, no TPU")
    from jax.experimental import topologies

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # compilation uses no chip
    devices = topologies.get_topology_desc(platform="tpu", topology_name=chip).devices
    mesh = jax.sharding.Mesh(np.reshape(devices, (2, 1, 2)), ("data", "fsdp", "tensor"))
    shard = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", None, "tensor"))
    q = jax.ShapeDtypeStruct((2, 400, 4, 64), jnp.bfloat16, sharding=shard)
    mask = jax.ShapeDtypeStruct((2, 400), jnp.bool_)

    def gradient(q, mask, **options):
        return jax.grad(lambda q: attend(q, q, q, mask, **options).astype(jnp.float32).sum())(q)

    dropout = {"dropout_rate": 0.1, "dropout_key": jax.random.key(0)}
    alibi = {"slopes": alibi_slopes(4)}
    for options in ({}, dropout, alibi):
        with jax.set_mesh(mesh):
            step = jax.jit(functools.partial(gradient, **options))
            traced = step.trace(q, mask).lower(lowering_platforms=("tpu",))
            program = traced.compile().as_text()
        assert "tpu_custom_call" in program and "backward_attention" in program
