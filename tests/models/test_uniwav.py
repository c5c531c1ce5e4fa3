"""Prediction heads, conditioning and the size of the presets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.models import uniwav
from uniwav_jax.models.encoder import EncoderOutput

LAYERS, WIDTH = 3, 32


def encoded(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(3), 4)
    shapes = ((2, 5, WIDTH), (LAYERS, 2, 5, WIDTH), (LAYERS, 2, 5, WIDTH), (2, 5, WIDTH))
    return EncoderOutput(*(3 * jax.random.normal(k, s).astype(dtype) for k, s in zip(keys, shapes)))


def layer_norm(x):
    x = np.asarray(x, np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.fixture(scope="module")
def params(make_config, scramble):
    return scramble(jax.eval_shape(lambda: uniwav.init(jax.random.key(0), make_config(), 6)))


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("prediction", ["dinosr", "spidr"])
def test_heads_read_their_layer(make_config, params, norm, prediction):
    config = make_config({"model.encoder.norm": norm, "distillation.prediction": prediction})
    out = encoded()
    logits = uniwav.predict_codes(params["heads"], out, config)
    for k in range(2):
        if prediction == "dinosr":
            h = np.asarray(out.final)  # every head reads the last layer
        else:
            h = np.asarray(out.feed_forward[LAYERS - 2 + k])  # head k reads layer L - K + k
        expected = h @ np.asarray(params["heads"]["kernel"][k]) + params["heads"]["bias"][k]
        np.testing.assert_allclose(logits[k], expected, rtol=1e-3, atol=1e-3)


def test_logits_are_float32_under_bfloat16(make_config, params):
    for prediction in ("dinosr", "spidr"):
        config = make_config({"distillation.prediction": prediction})
        logits = uniwav.predict_codes(params["heads"], encoded(jnp.bfloat16), config)
        assert logits.dtype == jnp.float32


def test_initial_conditioning_is_the_mean_of_normalised_layers(make_config):
    condition = jax.jit(lambda: uniwav.init(jax.random.key(0), make_config(), 6))()["condition"]
    np.testing.assert_array_equal(condition["mix"], np.zeros(LAYERS + 1))
    out = encoded()
    mean = np.mean([layer_norm(h) for h in (out.embedding, *out.states)], axis=0)
    expected = mean @ np.asarray(condition["project"]["kernel"]) + condition["project"]["bias"]
    np.testing.assert_allclose(
        uniwav.condition(condition, out, None), expected, rtol=1e-4, atol=1e-4
    )


def test_conditioning_weighs_layers_by_softmax(params):
    out, condition = encoded(), params["condition"]
    share = np.exp(condition["mix"]) / np.exp(condition["mix"]).sum()
    mixed = sum(w * layer_norm(h) for w, h in zip(share, (out.embedding, *out.states)))
    expected = mixed @ np.asarray(condition["project"]["kernel"]) + condition["project"]["bias"]
    np.testing.assert_allclose(
        uniwav.condition(condition, out, None), expected, rtol=1e-4, atol=1e-4
    )


def test_dropped_rows_have_the_null_vector(params):
    condition = params["condition"]
    z = uniwav.condition(condition, encoded(), jnp.array([False, True]))
    kept = uniwav.condition(condition, encoded(), None)
    np.testing.assert_array_equal(z[0], kept[0])
    np.testing.assert_array_equal(z[1], np.broadcast_to(condition["null"], z[1].shape))


def test_initial_parameters_are_float32_with_any_compute_dtype(make_config):
    config = make_config({"model.compute_dtype": "bfloat16"})
    fresh = jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 6))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", 2.18), ("small", 33.7), ("base", 152.9), ("large", 532.9)]
)
def test_size_of_the_presets(size, millions):
    config = from_dict(default_config(size))
    shapes = jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, 80))
    counts = uniwav.parameter_counts(shapes)
    assert counts["total"] == sum(n for name, n in counts.items() if name != "total")
    assert counts["total"] / 1e6 == pytest.approx(millions, rel=2e-3)
