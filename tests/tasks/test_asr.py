"""Recognition: freezing, masking, and overfitting ten utterances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax import features as features_lib
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.measures import word_error
from uniwav_jax.parallel.mesh import make_mesh
from uniwav_jax.tasks import asr
from uniwav_jax.text import alphabet
from uniwav_jax.train import step as train_step
from uniwav_jax.types import Batch, Example, Variables

SMALL = {
    "task": "asr",
    "text.symbols": tuple("'abcdefghijklmnopqrstuvwxyz|"),
    "asr.freeze_steps": 0,
    "evaluate.sample_every": 0,
    "features.mel_bands": 40,
    "model.compute_dtype": "float32",
    "model.remat": "none",
    "model.encoder.layers": 2,
    "model.encoder.width": 64,
    "model.encoder.heads": 4,
    "model.encoder.ffn": 128,
    "model.encoder.position_convolutions": 2,
    "model.encoder.position_kernel": 9,
    "model.encoder.position_groups": 4,
    "distillation.top_layers": 2,
    "optim.lr": 3e-3,
    "optim.weight_decay": 0.0,
    "train.steps": 400,
    "mesh.data": 1,
    "data.row_multiple": 1,
}
CHANNELS, FRAMES = 40, 30


def make_config(changes=None):
    config = default_config("tiny")
    config.update_from_flattened_dict({**SMALL, **(changes or {})})
    return from_dict(config)


def problem(config, rows=3):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((rows, FRAMES, CHANNELS)), jnp.float32)
    frames = jnp.array([FRAMES, 20, 10][:rows])
    tokens = jnp.array([[1, 2, 3, 4], [5, 5, -1, -1], [6, -1, -1, -1]][:rows])
    params, _ = asr.init(jax.random.key(0), config, CHANNELS)
    example = Example(x, frames, {"tokens": tokens})
    return params, example, asr.draw(jax.random.key(1), example, config)


@functools.partial(jax.jit, static_argnums=0)
def loss_of(config, params, example, draws, key=None, weight=None):
    weight = asr.weight(example, draws) if weight is None else weight
    return asr.loss(Variables(params, {}, {}, {}), example, draws, weight, key, config)


def test_padding_changes_nothing():
    config = make_config({"asr.layers": "mix"})
    params, example, draws = problem(config)
    value, sums = loss_of(config, params, example, draws)
    noisy = example.x_BxTxC.at[1, 20:].set(9.0).at[2, 10:].set(-9.0)
    again, more = loss_of(config, params, example.replace(x_BxTxC=noisy), draws)
    np.testing.assert_allclose(value, again, rtol=1e-5)
    np.testing.assert_array_equal(sums["outputs"]["path_BxT"], more["outputs"]["path_BxT"])
    assert (np.asarray(sums["outputs"]["path_BxT"])[1, 20:] == -1).all()
    assert float(sums["tokens"]) == 7 and float(sums["impossible"]) == 0


def test_microbatches_add_up():
    config = make_config()
    params, example, draws = problem(config)
    gradient = jax.jit(jax.grad(lambda p, *rest: loss_of(config, p, *rest)[0]))
    whole = gradient(params, example, draws)
    total, weight = jax.tree.map(jnp.zeros_like, params), asr.weight(example, draws)
    for row in range(3):
        part = jax.tree.map(lambda a, row=row: a[row : row + 1], (example, draws))
        total = jax.tree.map(jnp.add, total, gradient(params, *part, None, weight))
    for ours, theirs in zip(jax.tree.leaves(whole), jax.tree.leaves(total), strict=True):
        # Rounding of sums in float32 grows with their size: here up to 3.
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_hidden_frames_and_channels_do_not_affect_the_output():
    """Hidden frames and channels have no gradient to the input, and only in training."""
    config = make_config({"asr.time_mask": 0.6, "asr.time_length": 4, "asr.channel_length": 16})
    params, example, draws = problem(config)
    draws = draws.replace(channel_mask_BxD=jnp.zeros_like(draws.channel_mask_BxD).at[0].set(True))
    assert 0 < int(draws.span_mask_BxT.sum()) < FRAMES * 3

    def value(x, key):
        return loss_of(config, params, example.replace(x_BxTxC=x), draws, key)[0]

    x = example.x_BxTxC
    gradient = jax.grad(value)(x, jax.random.key(2))
    assert not np.any(np.asarray(gradient)[np.asarray(draws.span_mask_BxT)])
    assert not np.any(gradient[0]) and np.any(gradient[1])  # all channels of row 0 are hidden
    assert np.any(jax.grad(value)(x, None)[0])


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({}, [True, True, True]),
        ({"asr.freeze_steps": 2}, [False, False, True]),
        ({"asr.frozen": True}, [False, False, False]),
    ],
)
def test_encoder_is_frozen_for_the_configured_updates(changes, trained):
    """Weight decay must not change it either; the head is trained from the first update on."""
    settings = {**changes, "optim.weight_decay": 0.1}
    config = make_config({**settings, "init_from": "a pretrained run"})
    features = features_lib.build(config.features)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    statistics = {"mean": np.zeros(CHANNELS, np.float32), "std": np.ones(CHANNELS, np.float32)}
    with jax.set_mesh(mesh):
        state, shardings = train_step.init_state(asr.TASK, config, features, statistics, mesh)
        update = train_step.make_train_step(asr.TASK, config, features, mesh, shardings)
        audio = np.random.default_rng(0).integers(-3000, 3000, (2, 9600)).astype(np.int16)
        batch = Batch(
            audio, np.full(2, 9600), np.zeros(2, bool), {"tokens": np.array([[1, 2], [3, -1]])}
        )
        before = jax.device_get(state.params)
        for part in trained:
            state, _ = update(state, batch)
            after = jax.device_get(state.params)
            changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
            assert any(jax.tree.leaves(changed["encoder"])) == part
            assert changed["ctc"]["kernel"]
            before = after
    moments = jax.tree.leaves(state.opt_state)
    if changes.get("asr.frozen"):  # an encoder that is frozen for the whole run has no moments
        assert sum(map(np.size, moments)) < sum(map(np.size, jax.tree.leaves(state.params)))


def test_ten_utterances_are_overfitted(prompts):
    """The word error rate is 0 after at most 400 updates of a small model, decoded greedily."""
    quiet = dict.fromkeys(("dropout", "attention_dropout", "layer_drop"), 0.0)
    config = make_config(
        {f"model.encoder.{name}": value for name, value in quiet.items()}
        | {"asr.time_mask": 0.0, "asr.channel_mask": 0.0}
    )
    vocabulary = alphabet.Vocabulary(config.text)
    clips = prompts.short(10)
    tokens = [vocabulary.encode(text) for _, text in clips]
    audio = np.zeros((10, max(len(a) for a, _ in clips)), np.int16)
    tokens_BxU = np.full((10, max(map(len, tokens))), -1)
    for row, ((wave, _), line) in enumerate(zip(clips, tokens)):
        audio[row, : len(wave)] = wave
        tokens_BxU[row, : len(line)] = line
    batch = Batch(
        audio, np.array([len(a) for a, _ in clips]), np.zeros(10, bool), {"tokens": tokens_BxU}
    )

    features = features_lib.build(config.features)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    raw = np.asarray(features.raw({}, audio)).reshape(-1, CHANNELS)
    statistics = {"mean": raw.mean(0), "std": raw.std(0)}
    with jax.set_mesh(mesh):
        state, shardings = train_step.init_state(asr.TASK, config, features, statistics, mesh)
        update = train_step.make_train_step(asr.TASK, config, features, mesh, shardings)
        evaluate = train_step.make_eval_step(asr.TASK, config, features, mesh)
        wer = functools.partial(_wer, vocabulary, [text for _, text in clips])
        for number in range(1, 401):
            state, metrics = update(state, batch)
            if number % 50 == 0 and float(metrics["loss"]) < 0.1:
                _, outputs = evaluate(state, batch, jnp.asarray(0))
                if wer(outputs["path_BxT"]) == 0:
                    break
        else:
            pytest.fail(f"loss {float(metrics['loss']):.3f} after 400 updates")


def _wer(vocabulary, texts, path_BxT):
    rows = [row[row >= 0] for row in np.asarray(path_BxT)]
    hypotheses = [vocabulary.decode(alphabet.collapse(row)) for row in rows]
    return word_error.words(texts, hypotheses).rate
