"""The Flow Matching decoder agrees with NumPy; its U-Net skips, time embedding and options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from uniwav_jax.models import decoder, uniwav

CHANNELS, FRAMES = 6, 16


def build(config, scramble, compiled):
    """Returns compiled apply, random parameters and (x_t, t, z, mask with a row of 10 frames)."""
    module = uniwav.decoder_module(config, CHANNELS)
    keys = jax.random.split(jax.random.key(1), 2)
    x = jax.random.normal(keys[0], (2, FRAMES, CHANNELS))
    z = jax.random.normal(keys[1], (2, FRAMES, config.model.decoder.width))
    mask = jnp.arange(FRAMES) < jnp.array([[FRAMES], [10]])
    arguments = (x, jnp.array([0.2, 0.7]), z, mask)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)["params"]
    return compiled(module), scramble(shapes), arguments


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def rms_norm(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def linear(x, p):
    return np.tensordot(x, p["kernel"], 1) + p["bias"]


def reference_layer(x_TxD, skip_TxD, time_D, p, heads):
    """One decoder layer with rotary positions, on one row without padding, in NumPy float64."""
    if skip_TxD is not None:
        x_TxD = linear(np.concatenate([x_TxD, skip_TxD / np.sqrt(2)], -1), p["merge"])
    scale_a, shift_a, scale_f, shift_f = linear(time_D, p["modulation"])
    h = rms_norm(x_TxD) * (1 + scale_a) + shift_a
    attended = p["attention"]["out"]["bias"].copy()
    for head in range(heads):
        q, k, v = (
            h @ p["attention"]["qkv_kernel"][:, c, head] + p["attention"]["qkv_bias"][c, head]
            for c in range(3)
        )
        half = q.shape[-1] // 2
        turn = np.exp(1j * np.arange(len(h))[:, None] * 10000.0 ** (-np.arange(half) / half))
        q, k = ((a[:, :half] + 1j * a[:, half:]) * turn for a in (q, k))
        logits = (q @ k.conj().T).real / np.sqrt(2 * half)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = attended + weights @ v @ p["attention"]["out"]["kernel"][head]
    x_TxD = x_TxD + attended
    gate, value = linear(rms_norm(x_TxD) * (1 + scale_f) + shift_f, p["up"]).swapaxes(0, 1)
    return x_TxD + linear(gelu(gate) * value, p["down"])


def reference(params, x_TxC, t, z_TxD, config):
    """The decoder of four layers on one row without padding, in NumPy float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    c = config.model.decoder
    h = linear(np.concatenate([x_TxC, z_TxD], -1), p["project"])
    size = c.position_kernel
    padded = np.pad(h, ((size // 2, size // 2), (0, 0)))
    moved = sum(padded[i : i + len(h)] * p["position_kernel"][i] for i in range(size))
    h = h + gelu(moved + p["position_bias"])

    half = c.width // 2
    angle = 1000 * t * 10000.0 ** (-np.arange(half) / half)
    time = linear(np.r_[np.sin(angle), np.cos(angle)], p["time_in"])
    time = linear(time / (1 + np.exp(-time)), p["time_out"])
    time = time / (1 + np.exp(-time))

    first, second, third, fourth = (
        jax.tree.map(lambda a, i=i: a[i], p[part])
        for part, i in (("layers_in", 0), ("layers_in", 1), ("layers_out", 0), ("layers_out", 1))
    )
    h1 = reference_layer(h, None, time, first, c.heads)
    h2 = reference_layer(h1, None, time, second, c.heads)
    h3 = reference_layer(h2, h1, time, third, c.heads)  # layer 3 merges the input of layer 2
    h4 = reference_layer(h3, h, time, fourth, c.heads)  # layer 4 merges the input of layer 1
    return linear(rms_norm(h4) * p["norm_scale"], p["out"])


def test_decoder_equals_numpy(make_config, scramble, compiled):
    config = make_config()
    apply, params, (x, t, z, mask) = build(config, scramble, compiled)
    v = apply(params, x, t, z, mask)
    assert v.dtype == jnp.float32
    for row, real in enumerate((FRAMES, 10)):  # number of real frames
        expected = reference(params, x[row, :real], float(t[row]), z[row, :real], config)
        np.testing.assert_allclose(v[row, :real], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("positions", ["rotary", "alibi"])
def test_padding_does_not_change_real_frames(make_config, scramble, compiled, positions):
    apply, params, (x, t, z, mask) = build(
        make_config({"model.decoder.positions": positions}), scramble, compiled
    )
    short = apply(params, x, t, z, mask)
    wide = ((0, 0), (0, 9), (0, 0))
    long = apply(
        params,
        jnp.pad(x, wide, constant_values=9.0),
        t,
        jnp.pad(z, wide, constant_values=9.0),
        jnp.pad(mask, wide[:2]),
    )
    scale = np.abs(short).max()
    np.testing.assert_allclose(long[0, :FRAMES], short[0], atol=1e-5 * scale)
    np.testing.assert_allclose(long[1, :10], short[1, :10], atol=1e-5 * scale)


def test_positions_matter_and_differ(make_config, scramble, compiled):
    outputs = []
    for positions in ("rotary", "alibi"):
        apply, params, arguments = build(
            make_config({"model.decoder.positions": positions}), scramble, compiled
        )
        outputs.append(apply(params, *arguments))
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


def test_velocity_is_zero_after_initialisation(make_config, scramble, compiled):
    apply, _, arguments = build(make_config(), scramble, compiled)
    module = uniwav.decoder_module(make_config(), CHANNELS)
    params = jax.jit(module.init)(jax.random.key(0), *arguments)["params"]
    np.testing.assert_array_equal(apply(params, *arguments), 0)
    for part in ("layers_in", "layers_out"):  # adaptive norms start without modulation
        np.testing.assert_array_equal(params[part]["modulation"]["kernel"], 0)


def test_every_skip_reaches_the_output(make_config, scramble, compiled):
    apply, params, arguments = build(make_config(), scramble, compiled)
    plain = apply(params, *arguments)
    width = params["norm_scale"].shape[0]
    for layer in range(2):
        cut = jax.tree.map(lambda a: a, params)
        kernel = cut["layers_out"]["merge"]["kernel"]
        cut["layers_out"]["merge"]["kernel"] = kernel.at[layer, width:].set(0)
        assert np.abs(apply(cut, *arguments) - plain).max() > 1e-3


def test_skips_are_the_inputs_of_layers(make_config, scramble, compiled):
    """Each layer adds to its own channel, so the output shows through which layers a skip went.

    Voicebox's U-Net (arXiv 2306.15687, section 5.1) connects layers symmetrically, the first with
    the last; in voicebox-pytorch 0.5.0 and NeMo's TransformerUNet a skip is the input of a layer.
    """
    apply, shapes, (x, t, z, mask) = build(make_config(), scramble, compiled)
    params = jax.tree.map(jnp.zeros_like, shapes)
    width, channels = params["out"]["kernel"].shape
    params["out"]["kernel"] = jnp.eye(width, channels)
    params["project"]["bias"] = jnp.zeros(width).at[0].set(1.0)  # the embedding has channel 0
    for name, first in (("layers_in", 1), ("layers_out", 3)):
        bias = params[name]["down"]["bias"]
        marks = jnp.arange(first, first + 2)  # layer i has channel i
        params[name]["down"]["bias"] = bias.at[jnp.arange(2), marks].set(1.0)
    params["norm_scale"] = jnp.ones(width)
    keep, skip = jnp.eye(2 * width, width), jnp.eye(2 * width, width, k=-width) * 2**0.5

    def passed(third, fourth):
        """Channels of the output that are not zero, given the merge kernels of layers 3 and 4."""
        params["layers_out"]["merge"]["kernel"] = jnp.stack([third, fourth])
        return set(np.flatnonzero(np.abs(apply(params, x, t, z, mask)[0, 0]) > 0.1).tolist())

    assert passed(keep, keep) == {0, 1, 2, 3, 4}
    assert passed(skip, keep) == {0, 1, 3, 4}  # the input of layer 2, without layer 2 itself
    assert passed(keep, skip) == {0, 4}  # the input of layer 1: the embedding


def test_time_embedding_is_sinusoids_of_a_thousand_t():
    t = np.array([0.0, 0.3, 1.0])
    out = decoder.time_embedding(jnp.asarray(t, jnp.float32), 8)
    frequency = 10000.0 ** (-np.arange(4) / 4)
    angle = 1000 * t[:, None] * frequency
    np.testing.assert_allclose(out, np.c_[np.sin(angle), np.cos(angle)], atol=2e-4)
    assert out.dtype == jnp.float32


def test_flow_time_is_per_row(make_config, scramble, compiled):
    apply, params, (x, t, z, mask) = build(make_config(), scramble, compiled)
    before = apply(params, x, t, z, mask)
    after = apply(params, x, t.at[1].set(0.1), z, mask)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-3


def test_context_is_a_separate_input(make_config, scramble, compiled):
    apply, _, arguments = build(make_config(), scramble, compiled)
    module = uniwav.decoder_module(make_config(), CHANNELS)
    seen = jnp.ones_like(arguments[0])
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments, context_BxTxC=seen)
    params = scramble(shapes["params"])
    assert params["project"]["kernel"].shape[0] == 2 * CHANNELS + arguments[2].shape[-1]
    outputs = [apply(params, *arguments, context_BxTxC=a) for a in (seen, 2 * seen)]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


def test_dropout_depends_on_the_key_only(make_config, scramble, compiled):
    apply, params, arguments = build(
        make_config({"model.decoder.dropout": 0.2}), scramble, compiled
    )
    first, again, other = (
        apply(params, *arguments, key=jax.random.key(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_rematerialisation_changes_no_gradient(make_config, scramble, compiled):
    gradients = []
    for policy in ("none", "dots", "attention", "full"):
        apply, params, arguments = build(make_config({"model.remat": policy}), scramble, compiled)

        def loss(params, apply=apply, arguments=arguments):
            return jnp.sin(apply(params, *arguments)).mean()

        gradients.append(jax.jit(jax.grad(loss))(params))
    for other in gradients[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            gradients[0],
            other,
        )


def test_bfloat16_is_close_to_float32_and_returns_float32(make_config, scramble, compiled):
    apply, params, arguments = build(make_config(), scramble, compiled)
    half = uniwav.decoder_module(make_config({"model.compute_dtype": "bfloat16"}), CHANNELS)
    exact, rough = (a(params, *arguments) for a in (apply, compiled(half)))
    assert rough.dtype == jnp.float32
    assert 0 < np.abs(exact - rough).max() < 0.1 * np.abs(exact).max()
