"""The encoder agrees with NumPy and with its unrolled layers; hidden frames do not leak."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from uniwav_jax.models import uniwav
from uniwav_jax.models.encoder import EncoderLayer
from uniwav_jax.train import compiled as compiled_program

CHANNELS, FRAMES = 6, 24
NORMS = ("pre", "post")


def build(config, scramble, compiled):
    """Returns compiled apply, random parameters, x, and the mask of a full and a 15-frame row."""
    module = uniwav.encoder_module(config)
    x = jax.random.normal(jax.random.key(1), (2, FRAMES, CHANNELS))
    mask = jnp.arange(FRAMES) < jnp.array([[FRAMES], [15]])
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, mask)["params"]
    return compiled(module), scramble(shapes, 0.2), x, mask


@pytest.fixture(params=NORMS)
def norm(request):
    return request.param


def test_padding_does_not_change_real_frames(make_config, scramble, compiled, norm):
    apply, params, x, mask = build(make_config({"model.encoder.norm": norm}), scramble, compiled)
    spans = jnp.zeros_like(mask).at[1, 3:9].set(True)
    padded = jnp.pad(x, ((0, 0), (0, 11), (0, 0)), constant_values=50.0)
    longer = [jnp.pad(a, ((0, 0), (0, 11))) for a in (mask, spans)]
    short = apply(params, x, mask, span_mask_BxT=spans)
    long = apply(params, padded, longer[0], span_mask_BxT=longer[1])
    alone = apply(params, x[1:, :15], mask[1:, :15], span_mask_BxT=spans[1:, :15])
    for name in ("embedding", "states", "feed_forward", "final"):
        a, b, c = (getattr(out, name) for out in (short, long, alone))
        np.testing.assert_allclose(b[..., 0, :FRAMES, :], a[..., 0, :, :], atol=1e-5)
        np.testing.assert_allclose(b[..., 1, :15, :], a[..., 1, :15, :], atol=1e-5)
        np.testing.assert_allclose(c[..., 0, :, :], a[..., 1, :15, :], atol=1e-5)


def test_no_gradient_from_any_output_to_hidden_frames(make_config, scramble, compiled, norm):
    apply, params, x, mask = build(make_config({"model.encoder.norm": norm}), scramble, compiled)
    spans = jnp.zeros_like(mask).at[:, 4:12].set(True)

    def total(x):
        out = apply(params, x, mask, span_mask_BxT=spans)
        keys = jax.random.split(jax.random.key(5), 4)
        real = mask[..., None]
        return sum(
            (jax.random.normal(key, a.shape) * jnp.where(real, a, 0)).sum()
            for key, a in zip(keys, jax.tree.leaves(out))
        )

    gradient = np.asarray(jax.grad(total)(x))
    np.testing.assert_array_equal(gradient[:, 4:12], 0)
    assert (np.abs(gradient[:, :4]).max(-1) > 0).all()
    assert (np.abs(gradient[0, 12:]).max(-1) > 0).all()
    np.testing.assert_array_equal(gradient[1, 15:], 0)  # nor from padding


def test_hidden_frames_contain_the_mask_vector(make_config, scramble, compiled):
    apply, params, x, mask = build(make_config(), scramble, compiled)
    spans = jnp.zeros_like(mask).at[:, 4:12].set(True)

    def final(params):
        return apply(params, x, mask, span_mask_BxT=spans).final.sum()

    assert np.abs(jax.grad(final)(params)["mask_vector"]).max() > 0
    other = {**params, "mask_vector": params["mask_vector"] + 1}
    unmasked = [apply(p, x, mask).final for p in (params, other)]
    np.testing.assert_array_equal(*unmasked)


def layer_norm(x, parameters):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * parameters["scale"] + parameters["bias"]


def reference_layer(x_TxD, p, heads, norm):
    """One Transformer layer on one row without padding, in NumPy float64.

    Returns the state after the layer and the feed-forward output, both [T, D].
    """

    def attention(x):
        out = p["attention"]["out"]["bias"].copy()
        for h in range(heads):
            q, k, v = (
                x @ p["attention"]["qkv_kernel"][:, c, h] + p["attention"]["qkv_bias"][c, h]
                for c in range(3)
            )
            logits = q @ k.T / np.sqrt(q.shape[-1])
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            out = out + weights @ v @ p["attention"]["out"]["kernel"][h]
        return out

    def feed_forward(x):
        h = x @ p["up"]["kernel"] + p["up"]["bias"]
        return 0.5 * h * (1 + erf(h / np.sqrt(2))) @ p["down"]["kernel"] + p["down"]["bias"]

    if norm == "pre":
        h = x_TxD + attention(layer_norm(x_TxD, p["norm_attention"]))
        target = feed_forward(layer_norm(h, p["norm_feed_forward"]))
        return h + target, target
    h = layer_norm(x_TxD + attention(x_TxD), p["norm_attention"])
    target = feed_forward(h)
    return layer_norm(h + target, p["norm_feed_forward"]), target


def test_layers_equal_numpy(make_config, scramble, compiled, norm):
    config = make_config({"model.encoder.norm": norm})
    apply, params, x, mask = build(config, scramble, compiled)
    out = apply(params, x[:1], mask[:1])
    stacked = jax.tree.map(lambda a: np.asarray(a, np.float64), params["layers"])
    h = np.asarray(out.embedding[0], np.float64)
    for i in range(config.model.encoder.layers):
        p = jax.tree.map(lambda a, i=i: a[i], stacked)
        h, target = reference_layer(h, p, config.model.encoder.heads, norm)
        np.testing.assert_allclose(out.states[i, 0], h, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(out.feed_forward[i, 0], target, rtol=1e-4, atol=1e-4)
    if norm == "pre":
        h = layer_norm(h, jax.tree.map(np.asarray, params["norm_final"]))
    np.testing.assert_allclose(out.final[0], h, rtol=1e-4, atol=1e-4)


def test_scan_equals_the_layers_one_by_one_with_padding(make_config, scramble, compiled, norm):
    config = make_config({"model.encoder.norm": norm})
    apply, params, x, mask = build(config, scramble, compiled)
    out = apply(params, x, mask)
    layer = compiled(EncoderLayer(config.model.encoder, jnp.float32, "auto"))
    h = out.embedding
    for i in range(config.model.encoder.layers):
        sliced = jax.tree.map(lambda a, i=i: a[i], params["layers"])
        h, (state, target) = layer(sliced, h, None, mask)
        np.testing.assert_allclose(out.states[i], state, atol=1e-5)
        np.testing.assert_allclose(out.feed_forward[i], target, atol=1e-5)


def test_layers_have_different_initial_parameters(make_config):
    module = uniwav.encoder_module(make_config())
    mask = jnp.ones((1, 4), bool)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 4, CHANNELS)), mask)["params"]
    kernel = params["layers"]["up"]["kernel"]
    assert (kernel[0] != kernel[1]).mean() > 0.9


def test_layer_drop_skips_layers_by_the_key_only(make_config, scramble, compiled):
    apply, params, x, mask = build(
        make_config({"model.encoder.layer_drop": 1.0}), scramble, compiled
    )
    out = apply(params, x, mask, key=jax.random.key(0))
    for state in out.states:
        np.testing.assert_array_equal(state, out.embedding)
    kept = apply(params, x, mask)
    assert (kept.states[0] != kept.embedding).any()

    apply, params, x, mask = build(
        make_config({"model.encoder.layer_drop": 0.5}), scramble, compiled
    )
    patterns = []
    for seed in range(8):
        states, again = (apply(params, x, mask, key=jax.random.key(seed)).states for _ in range(2))
        np.testing.assert_array_equal(states, again)
        patterns.append(tuple(bool((a == b).all()) for a, b in itertools.pairwise(states)))
    assert len(set(patterns)) > 2  # layers are dropped independently


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_dropout_depends_on_the_key_only(make_config, scramble, compiled, name):
    apply, params, x, mask = build(make_config({f"model.encoder.{name}": 0.2}), scramble, compiled)
    first, again, other = (
        apply(params, x, mask, key=jax.random.key(seed)).final for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    plain = uniwav.encoder_module(make_config())
    np.testing.assert_array_equal(
        apply(params, x, mask).final,
        compiled(plain)(params, x, mask).final,
    )


def test_target_is_taken_before_dropout(make_config, scramble, compiled):
    apply, params, x, mask = build(make_config({"model.encoder.dropout": 0.5}), scramble, compiled)
    out = apply(params, x, mask, key=jax.random.key(0))
    assert (out.embedding == 0).mean() > 0.3  # dropout is active
    assert not (out.feed_forward == 0).any()


def test_activations_are_dropped_inside_the_feed_forward(make_config, scramble, compiled):
    """It has a separate key, so other random choices are the same as without it."""
    rate, key = 0.5, jax.random.key(0)
    changes = {"model.encoder.dropout": 0.3, "model.encoder.layers": 1}
    changes |= {"distillation.top_layers": 1}
    apply, params, x, mask = build(make_config(changes), scramble, compiled)
    without = apply(params, x, mask, key=key)
    dropping = {**changes, "model.encoder.activation_dropout": rate}
    encoder = uniwav.encoder_module(make_config(dropping))
    with_it = compiled(encoder)(params, x, mask, key=key)
    np.testing.assert_array_equal(with_it.embedding, without.embedding)
    assert (with_it.feed_forward != without.feed_forward).any()
    # With the identity as second linear layer the output shows the activations.
    width, ffn = params["layers"]["up"]["kernel"].shape[1:]
    down = {"kernel": jnp.eye(ffn, width)[None], "bias": jnp.zeros((1, width))}
    params = {**params, "layers": {**params["layers"], "down": down}}
    plain = apply(params, x, mask, key=key).feed_forward
    seen = compiled(encoder)(params, x, mask, key=key).feed_forward
    kept = np.asarray(seen != 0)
    assert abs(kept.mean() - (1 - rate)) < 0.05
    np.testing.assert_allclose(seen[kept], plain[kept] / (1 - rate), rtol=1e-4, atol=1e-6)


def test_rematerialisation_changes_no_gradient(make_config, scramble, compiled):
    gradients = []
    for policy in ("none", "dots", "attention", "full"):
        changes = {"model.remat": policy, "model.encoder.dropout": 0.1}
        changes |= {"model.encoder.activation_dropout": 0.1}
        apply, params, x, mask = build(make_config(changes), scramble, compiled)

        def loss(params, apply=apply, x=x, mask=mask):
            out = apply(params, x, mask, key=jax.random.key(3))
            return jnp.square(out.states).mean() + jnp.sin(out.final).mean()

        gradients.append(jax.jit(jax.grad(loss))(params))
    for other in gradients[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            gradients[0],
            other,
        )


def test_bfloat16_is_close_to_float32(make_config, scramble, compiled, norm):
    changes = {"model.encoder.norm": norm}
    apply, params, x, mask = build(make_config(changes), scramble, compiled)
    half = uniwav.encoder_module(make_config({**changes, "model.compute_dtype": "bfloat16"}))
    fresh = jax.eval_shape(half.init, jax.random.key(0), x, mask)["params"]
    assert {a.dtype for a in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    exact, rough = (a(params, x, mask) for a in (apply, compiled(half)))
    assert {a.dtype for a in jax.tree.leaves(rough)} == {jnp.dtype("bfloat16")}
    error = jnp.where(mask[..., None], exact.final - rough.final.astype(jnp.float32), 0)
    assert np.abs(error).max() < 0.1 * np.abs(exact.final).max()
    # Norms, softmax and GELU are still computed in float32.
    program = jax.make_jaxpr(lambda p: half.apply({"params": p}, x, mask, key=jax.random.key(0)))
    found = {}
    for equation in equations(program(fresh).jaxpr):
        for value in equation.invars:
            if jnp.issubdtype(value.aval.dtype, jnp.floating):
                found.setdefault(equation.primitive.name, set()).add(value.aval.dtype.name)
    assert found["dot_general"] == {"bfloat16"}
    for name in ("reduce_sum", "rsqrt", "exp", "reduce_max", "erf"):
        assert found[name] == {"float32"}, name


def equations(jaxpr):
    """All equations of a jaxpr, including those inside loops and calls."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in compiled_program._inner(equation.params):
            yield from equations(getattr(inner, "jaxpr", inner))
