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

splash = functools.partial(attention.splash, interpret=True)
known = {name: functools.partial(attend, implementation=name) for name in ("xla", "chunk", "auto")}


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [jax.random.normal(key, (ROWS, HEADS, FRAMES, WIDTH)) for key in keys]
    return *arrays, jnp.arange(FRAMES) < jnp.array(LENGTHS)[:, None]


def real(out, mask):
    """What counts: outputs at real frames."""
    return jnp.where(mask[:, None, :, None], out, 0)


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
@pytest.mark.parametrize("name", ["xla", "chunk", "auto", "splash"])
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
            wanted = numpy_attention(*(a[b, h, :n] for a in (q, k, v)), slope)
            np.testing.assert_allclose(out[b, h, :n], wanted, atol=2e-6)
    assert np.isfinite(out).all()  # padding and the row without audio too


@pytest.mark.parametrize("name", ["chunk", "auto", "splash"])
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


def test_chunks_drop_the_same_weights(inputs):
    q, k, v, mask = inputs
    options = {"dropout_rate": 0.3, "dropout_key": jax.random.key(1)}
    options["slopes"] = attention.alibi_slopes(HEADS)

    def run(name):
        def total(q):
            return jnp.square(real(known[name](q, k, v, mask, **options), mask)).sum()

        return jax.value_and_grad(total)(q)

    (a, grad_a), (b, grad_b) = run("xla"), run("chunk")
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(grad_a, grad_b, atol=1e-5 * np.abs(grad_a).max())
    without = jnp.square(real(attend(q, k, v, mask, slopes=options["slopes"]), mask)).sum()
    assert abs(a - without) > 0.01 * without


def test_dropout_keeps_the_mean():
    q = jnp.zeros((8, 4, 300, 4))
    mask = jnp.ones((8, 300), bool)
    out = attend(q, q, q + 1.0, mask, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert abs(out.mean() - 1) < 0.002
    assert 0.04 < out.std() < 0.08  # 1 / sqrt(300)


def test_a_row_without_audio_has_a_finite_gradient(inputs):
    q, k, v, _ = inputs
    nothing = jnp.zeros((ROWS, FRAMES), bool)
    for function in (known["xla"], known["chunk"], splash):
        grads = jax.grad(lambda *a, f=function: f(*a, nothing).sum(), argnums=(0, 1, 2))(q, k, v)
        assert all(np.isfinite(g).all() for g in grads)


def test_softmax_of_bfloat16_attention_is_float32():
    q, mask = jnp.ones((1, 1, 8, 4), jnp.bfloat16), jnp.ones((1, 8), bool)
    for name in ("xla", "chunk"):
        program = str(jax.make_jaxpr(lambda a, f=known[name]: f(a, a, a, mask))(q))
        exponentials = [line for line in program.splitlines() if "= exp " in line]
        assert exponentials and all(":f32[" in line for line in exponentials)
        assert known[name](q, q, q, mask).dtype == jnp.bfloat16


def test_splash_runs_on_each_devices_rows_and_heads(inputs):
    """Under a mesh the kernel is divided; rows or heads that do not divide stay whole."""
    q, k, v, mask = (jnp.concatenate([a, a[:1]]) for a in inputs)
    wanted = splash(q, k, v, mask)
    for sizes in ((2, 1, 2), (1, 4, 1), (3, 1, 1), (1, 1, 4)):
        devices = np.array(jax.devices()[: np.prod(sizes)]).reshape(sizes)
        mesh = jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"))
        with jax.set_mesh(mesh):
            out = jax.jit(splash)(q, k, v, mask)
        np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_cudnn_says_what_it_needs(inputs):
    if jax.default_backend() == "gpu":
        q, k, v, mask = inputs
        halves = [a.astype(jnp.bfloat16) for a in (q, k, v)]
        out = attend(*halves, mask, implementation="cudnn")
        wanted = attend(*halves, mask, implementation="xla")
        np.testing.assert_allclose(
            *(np.asarray(real(a, mask), np.float32) for a in (out, wanted)), atol=0.03
        )
        return
    with pytest.raises(UserError, match=r"cudnn needs an NVIDIA GPU.*found cpu"):
        attend(*inputs, implementation="cudnn")


def test_compiles_to_kernels_for_tpu():
    pytest.importorskip("libtpu", reason="needs the extra tpu: the compiler, no TPU")
    from jax.experimental import topologies

    device = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
    place = jax.sharding.SingleDeviceSharding(device)
    q = jax.ShapeDtypeStruct((2, 2, 400, 64), jnp.bfloat16, sharding=place)
    mask = jax.ShapeDtypeStruct((2, 400), jnp.bool_, sharding=place)

    def gradient(q, mask, **options):
        return jax.grad(lambda q: attend(q, q, q, mask, **options).astype(jnp.float32).sum())(q)

    for options, kernels in (({}, True), ({"slopes": attention.alibi_slopes(2)}, False)):
        step = jax.jit(functools.partial(gradient, **options))
        program = step.trace(q, mask).lower(lowering_platforms=("tpu",)).compile().as_text()
        assert ("tpu_custom_call" in program) == kernels
