"""Rows without speech, which fill the last batches of an evaluation, do not affect any loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import loudness
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.tasks import asr, codec, pretrain
from uniwav_jax.types import Example, Variables

ENCODER = {
    "layers": 2,
    "width": 32,
    "heads": 2,
    "ffn": 64,
    "position_convolutions": 1,
    "position_kernel": 5,
    "position_groups": 4,
}
DECODER = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "position_kernel": 5}


def networks(task, **text_options):
    values = default_config("tiny")
    values.task, values.evaluate.sample_every = task, 0
    values.model.update(compute_dtype="float32", remat="none")
    values.model.encoder.update(ENCODER)
    values.model.decoder.update(DECODER)
    values.distillation.update(top_layers=2, codewords=16)
    values.asr.freeze_steps = 0
    values.text.update(text_options)
    return from_dict(values)


def coding(**options):
    values = default_config("tiny")
    values.task, values.features.kind = "codec", "waveform"
    structure = {"filters": 4, "dimension": 16, "lstm": 0, "ratios": (8, 5, 4, 2)}
    values.codec.structure.update({**structure, **options.pop("structure", {})})
    values.codec.update(discriminator_filters=2, discriminator_windows=(256,), **options)
    return from_dict(values)


CASES = {
    "pretrain": (pretrain, networks("pretrain"), (40, 20)),
    "asr": (asr, networks("asr", symbols=tuple("abc")), (40, 20)),
    "codec": (codec, coding(), (2560, 1)),
    "rvq": (
        codec,
        coding(bottleneck="rvq", structure={"codebooks": 2, "codewords": 8}),
        (2560, 1),
    ),
}


pytestmark = pytest.mark.usefixtures("fast_compilation")


def twice_and_filled_up(name):
    """Two batches of one shape: one has the rows twice, the other has them once and empty rows."""
    task, config, (total, channels) = CASES[name]
    frames = jnp.array([total, total, total // 2])
    inside = jnp.arange(total) < frames[:, None]
    x = 0.1 * jax.random.normal(jax.random.key(1), (len(frames), total, channels))
    x = jnp.where(inside[..., None], x, 0.0)
    tokens = jnp.array([[1, 2, 3], [2, 2, -1], [3, -1, -1]])
    one = Example(x, frames, {"tokens": tokens})
    rows = jax.tree.map(lambda a: jnp.concatenate([a, a]), one)
    draw = jax.jit(task.draw, static_argnums=2)
    draws = draw(jax.random.key(2), rows, config)
    draws = jax.tree.map(lambda a: jnp.concatenate([a[:3], a[:3]]), draws)
    none = Example(jnp.zeros_like(x), jnp.zeros_like(frames), {"tokens": jnp.full_like(tokens, -1)})
    empty = jax.tree.map(lambda *both: jnp.concatenate(both), one, none)
    filled = draw(jax.random.key(2), empty, config)
    # Real rows have the same random choices in both batches, empty rows those of no speech.
    filled = jax.tree.map(lambda a, b: jnp.concatenate([a[:3], b[3:]]), draws, filled)
    return (rows, draws), (empty, filled)


@pytest.mark.parametrize("name", CASES)
def test_evaluation_averages_over_rows_with_speech(name):
    task, config, (_, channels) = CASES[name]
    params, state = jax.jit(task.init, static_argnums=(1, 2))(jax.random.key(0), config, channels)
    loss = jax.jit(task.loss, static_argnums=(4, 5))

    def measured(rows):
        _, sums = loss(Variables(params, {}, state, {}), *rows, 1.0, None, config)
        sums.pop("outputs", None)
        return task.metrics(task.mean(sums), jnp.asarray(0), config)

    twice, filled = map(measured, twice_and_filled_up(name))
    assert float(twice["loss"]) > 0
    for key, value in twice.items():
        np.testing.assert_allclose(filled[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_unreadable_rows_do_not_train_a_codec():
    config, (_, channels) = CASES["codec"][1:]
    params, state = jax.jit(codec.init, static_argnums=(1, 2))(jax.random.key(0), config, channels)

    @jax.jit
    def gradient(params, example, draws):
        def loss(params):
            variables, weight = Variables(params, {}, state, {}), codec.weight(example, draws)
            return codec.loss(variables, example, draws, weight, jax.random.key(3), config)

        return jax.grad(loss, has_aux=True)(params)[0]

    twice, filled = (gradient(params, *rows) for rows in twice_and_filled_up("codec"))
    for ours, expected in zip(jax.tree.leaves(filled), jax.tree.leaves(twice), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_an_unreadable_row_gives_the_example_of_the_pages_no_nan():
    """The task of docs/extending.md divides by the frames of a row, of which there may be none."""
    config = networks("pretrain")
    params, _ = jax.jit(loudness.init, static_argnums=(1, 2))(jax.random.key(0), config, 20)
    x = jax.random.normal(jax.random.key(1), (2, 40, 20)).at[1].set(0.0)
    example = Example(x, jnp.array([40, 0]), {"loudness": jnp.array([-20.0, 0.0])})

    def total(params):
        return loudness.loss(Variables(params, {}, {}, {}), example, None, 1.0, None, config)[0]

    value, gradient = jax.jit(jax.value_and_grad(total))(params)
    assert np.isfinite(value) and value == 400.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
