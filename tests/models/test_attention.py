"""The implementations of attention are one function: values, gradients, padding, dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.models import attention
from uniwav_jax.models.attention import attend

ROWS, HEADS, FRAMES, WIDTH = 3, 2, 300, 16  # more than one chunk, no multiple of 128
LENGTHS = (300, 130, 0)

known = {name: functools.partial(attend, implementation=name) for name in ("xla", "chunk", "auto")}


def splash(*arrays):
    """As `attend` calls it, but interpreted."""
    *qkv, mask = arrays
    out = attention.splash(*(jnp.swapaxes(a, 1, 2) for a in qkv), mask, interpret=True)
    return jnp.swapaxes(out, 1, 2)


def pallas(*arrays, dropout_rate=0.0, dropout_key=None, **options):
    """As `attend` calls it, but interpreted."""
    if dropout_rate:
        options |= {"rate": dropout_rate, "seed": attention.dropout.seed(dropout_key)}
    return attention.pallas(*arrays, interpret=True, **options)


known["pallas"] = pallas


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [jax.random.normal(key, (ROWS, FRAMES, HEADS, WIDTH)) for key in keys]
    return *arrays, jnp.arange(FRAMES) < jnp.array(LENGTHS)[:, None]


def real(out, mask):
    """What counts: outputs at real frames."""
    return jnp.where(mask[:, :, None, None], out, 0)


def numpy_attention(q, k, v, slopes):
    """One row and head without padding, float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    logits = q @ k.T / np.sqrt(q.shape[-1])
    if slopes is not None:
        position = np.arange(len(q))
        logits -= slopes * np.abs(position[:, None] - position)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("positions", [None, "alibi"])
@pytest.mark.parametrize("name", ["xla", "chunk", "auto", "splash", "pallas"])
def test_equals_numpy_on_the_real_frames(inputs, name, positions):
    if name == "splash" and positions:
        return  # splash has no biases; the configuration refuses it
    q, k, v, mask = inputs
    slopes = attention.alibi_slopes(HEADS) if positions else None
    function = splash if name == "splash" else functools.partial(known[name], slopes=slopes)
    out = function(q, k, v, mask)
    for b, n in enumerate(LENGTHS[:2]):
        for h in range(HEADS):
            slope = slopes[h] if positions else None
            wanted = numpy_attention(*(a[b, :n, h] for a in (q, k, v)), slope)
            np.testing.assert_allclose(out[b, :n, h], wanted, atol=2e-6)
    assert np.isfinite(out).all()  # padding and the row without audio too


@pytest.mark.parametrize("name", ["chunk", "auto", "splash", "pallas"])
def test_gradients_equal_those_of_the_formula(inputs, name):
    q, k, v, mask = inputs
    other = splash if name == "splash" else known[name]

    def total(function, *arrays):
        return jnp.square(real(function(*arrays, mask), mask)).sum()

    wanted = jax.grad(functools.partial(total, known["xla"]), argnums=(0, 1, 2))(q, k, v)
    found = jax.grad(functools.partial(total, other), argnums=(0, 1, 2))(q, k, v)
    for a, b in zip(wanted, found, strict=True):
        scale = np.abs(a).max()
        assert scale > 0.1
        np.testing.assert_allclose(a / scale, b / scale, atol=2e-6)


@pytest.mark.parametrize("name", ["chunk", "pallas"])
def test_all_drop_the_same_weights(inputs, name):
    q, k, v, mask = inputs
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
    options["slopes"] = attention.alibi_slopes(HEADS)

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


def test_groups_of_heads_that_fill_registers():
    """Two groups of two heads of 64: which lanes, slopes and bits of dropout are whose."""
    q, k, v, weight = jax.random.normal(jax.random.key(4), (4, 1, 140, 4, 64))
    mask = jnp.arange(140)[None] < 130
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
    options["slopes"] = attention.alibi_slopes(4)

    def run(name):
        def total(*arrays):
            return (real(known[name](*arrays, mask, **options), mask) * weight).sum()

        return jax.grad(total, argnums=(0, 1, 2))(q, k, v)

    for a, b in zip(run("xla"), run("pallas"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_dropout_keeps_the_mean():
    q = jnp.zeros((8, 300, 4, 4))
    mask = jnp.ones((8, 300), bool)
    out = attend(q, q, q + 1.0, mask, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert abs(out.mean() - 1) < 0.002
    assert 0.04 < out.std() < 0.08  # 1 / sqrt(300)


def test_a_row_without_audio_has_a_finite_gradient(inputs):
    q, k, v, _ = inputs
    nothing = jnp.zeros((ROWS, FRAMES), bool)
    for function in (known["xla"], known["chunk"], splash, pallas):
        grads = jax.grad(lambda *a, f=function: f(*a, nothing).sum(), argnums=(0, 1, 2))(q, k, v)
        assert all(np.isfinite(g).all() for g in grads)


def test_softmax_of_bfloat16_attention_is_float32():
    q, mask = jnp.ones((1, 8, 1, 4), jnp.bfloat16), jnp.ones((1, 8), bool)
    for name in ("xla", "chunk"):
        program = str(jax.make_jaxpr(lambda a, f=known[name]: f(a, a, a, mask))(q))
        exponentials = [line for line in program.splitlines() if "= exp " in line]
        assert exponentials and all(":f32[" in line for line in exponentials)
        assert known[name](q, q, q, mask).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["splash", "pallas"])
def test_kernels_run_on_each_devices_rows_and_heads(inputs, name):
    """Under a mesh a kernel is divided; rows or heads that do not divide stay whole."""
    q, k, v, mask = (jnp.concatenate([a, a[:1]]) for a in inputs)
    function = splash
    if name == "pallas":  # which weights are dropped must not depend on the mesh
        options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
        options["slopes"] = attention.alibi_slopes(HEADS)
        function = functools.partial(pallas, **options)
    wanted = function(q, k, v, mask)
    for sizes in ((2, 1, 2), (1, 4, 1), (3, 1, 1), (1, 1, 4)):
        devices = np.array(jax.devices()[: np.prod(sizes)]).reshape(sizes)
        mesh = jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"))
        with jax.set_mesh(mesh):
            out = jax.jit(function)(q, k, v, mask)
        np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_pallas_in_bfloat16(inputs):
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


def test_pallas_as_a_tpu_runs_it(monkeypatch):
    """Several blocks of queries in turn, the last beyond the row's end, where memory holds NaN."""
    from jax.experimental.pallas import tpu

    from uniwav_jax.models import attention_kernel

    monkeypatch.setattr(attention_kernel, "BLOCK", 384 * 128)
    assert attention_kernel._block(384) == 128
    q, k, v = jax.random.normal(jax.random.key(3), (3, 1, FRAMES, 1, WIDTH))
    mask = jnp.ones((1, FRAMES), bool)

    def gradients(function, **options):
        def total(*arrays):
            return jnp.square(function(*arrays, mask, **options)).sum()

        return jax.grad(total, argnums=(0, 1, 2))(q, k, v)

    found = gradients(attention.pallas, interpret=tpu.InterpretParams(uninitialized_memory="nan"))
    for a, b in zip(gradients(known["xla"]), found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(a).max())


def test_pallas_names_rows_that_are_too_long():
    q = jnp.zeros((1, attention.LONGEST + 1, 1, 4))
    with pytest.raises(UserError, match="at most 4096 frames, got 4097"):
        pallas(q, q, q, jnp.ones((1, attention.LONGEST + 1), bool))


@pytest.mark.parametrize(
    ("name", "platform", "need"),
    [("cudnn", "gpu", "an NVIDIA GPU"), ("splash", "tpu", "a TPU"), ("pallas", "tpu", "a TPU")],
)
def test_kernels_on_their_platform_or_what_they_need(inputs, name, platform, need):
    """On a GPU or TPU this runs the kernel itself, with `pytest` as anywhere."""
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
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # it compiles, it takes no chip
    devices = topologies.get_topology_desc(platform="tpu", topology_name=chip).devices
    mesh = jax.sharding.Mesh(np.reshape(devices, (2, 1, 2)), ("data", "fsdp", "tensor"))
    shard = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", None, "tensor"))
    q = jax.ShapeDtypeStruct((2, 400, 4, 64), jnp.bfloat16, sharding=shard)
    mask = jax.ShapeDtypeStruct((2, 400), jnp.bool_)

    def gradient(q, mask, **options):
        return jax.grad(lambda q: attend(q, q, q, mask, **options).astype(jnp.float32).sum())(q)

    dropout = {"dropout_rate": 0.1, "dropout_key": jax.random.key(0)}
    alibi = {"slopes": attention.alibi_slopes(4)}
    for options, kernel in (
        ({}, "backward_a"),
        (dropout, "backward_attention"),
        (alibi, "backward_a"),
    ):
        with jax.set_mesh(mesh):
            step = jax.jit(functools.partial(gradient, **options))
            traced = step.trace(q, mask).lower(lowering_platforms=("tpu",))
            program = traced.compile().as_text()
        assert "tpu_custom_call" in program and kernel in program
