"""Text-to-speech: what the model sees, its losses, and learning a toy language of two phones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import test_pretrain
from uniwav_jax import features as features_lib
from uniwav_jax.models import masking
from uniwav_jax.parallel.mesh import make_mesh
from uniwav_jax.tasks import tts
from uniwav_jax.text import phones
from uniwav_jax.train import step as train_step
from uniwav_jax.types import Batch, Example, Variables

PHONES = ("AA", "IY", "sil")
NUMBER = phones.Vocabulary(PHONES).number
CHANNELS, FRAMES, ROWS = test_pretrain.CHANNELS, 40, 8
SMALL = {
    "task": "tts",
    "tts.phones": PHONES,
    "tts.duration_layers": 1,
    "tts.duration_width": 16,
    "flow.context": True,
    "data.row_multiple": ROWS,
}
pytestmark = pytest.mark.usefixtures("fast_compilation")


def make_config(changes=None):
    return test_pretrain.make_config({**SMALL, **(changes or {})})


@functools.partial(jax.jit, static_argnames="rows")
def language(key, rows=ROWS):
    """Rows of silence, AA, IY, silence of random lengths; frames are the phone's own vector.

    IY lasts twice as long as AA in every row.
    """
    lengths = jax.random.randint(key, (rows,), 4, 8)
    ends = jnp.stack([0 * lengths + 5, 5 + lengths, 5 + 3 * lengths, 0 * lengths + FRAMES], 1)
    row = [NUMBER(symbol) for symbol in ("sil", "AA1_B", "IY0_E", "sil")]
    numbers = jnp.tile(jnp.array(row), (rows, 1))
    vectors = np.random.default_rng(0).normal(size=(3, CHANNELS)).astype(np.float32)
    place = (jnp.arange(FRAMES)[:, None] >= ends[:, None]).sum(-1)
    x = jnp.asarray(vectors)[jnp.array([2, 0, 1, 2])[place]]
    return Example(x, jnp.full(rows, FRAMES), {"phones": numbers, "ends": ends})


def test_z_sees_phones_and_visible_frames_only():
    config = make_config()
    params, _ = jax.jit(lambda: tts.init(jax.random.key(0), config, CHANNELS))()
    params = test_pretrain.noisy(params)
    example = language(jax.random.key(1))
    labels = example.labels["phones"], example.labels["ends"]
    mask = masking.frame_mask(example.frames_B, FRAMES)
    hidden = mask & (jnp.arange(FRAMES) >= 10)

    @jax.jit
    def z(x, phones, ends, no_phones):
        return tts.condition(params, x, mask, hidden, phones, ends, config, no_phones_B=no_phones)

    none_B = jnp.zeros(ROWS, bool)
    base = z(example.x_BxTxC, *labels, none_B)
    other = jnp.where(hidden[..., None], 7.0, example.x_BxTxC)
    np.testing.assert_array_equal(z(other, *labels, none_B), base)
    assert (z(example.x_BxTxC.at[:, 3].set(7.0), *labels, none_B) != base).any()
    swapped = labels[0].at[:, 2].set(NUMBER("AA1_B"))
    assert (z(example.x_BxTxC, swapped, labels[1], none_B) != base).any()
    # Without the phones of the visible frames the first symbol, all of whose frames are visible,
    # does not matter.
    swapped = labels[0].at[:, 0].set(NUMBER("AA1_B"))
    np.testing.assert_array_equal(
        z(example.x_BxTxC, swapped, labels[1], ~none_B), z(example.x_BxTxC, *labels, ~none_B)
    )
    assert (z(example.x_BxTxC, swapped, labels[1], none_B) != base).any()


def test_draws_are_those_of_the_paper():
    config = make_config({"tts.prompt_drop": 0.4})
    example = language(jax.random.key(1), rows=2000)
    draws = tts.draw(jax.random.key(2), example, config)
    assert abs(float(draws.drop_B.mean()) - 0.2) < 0.03
    assert abs(float(draws.no_phones_B.mean()) - 0.4) < 0.04
    share = np.asarray(draws.hidden_BxT.mean(1))
    assert share.min() >= 0.7 - 0.5 / FRAMES and abs(share.mean() - 0.85) < 0.01
    assert tts.weight(example, draws) == draws.hidden_BxT.sum()


def test_losses_in_closed_form():
    """A fresh decoder outputs zero; the durations of cut phones do not count."""
    config = make_config({"flow.sigma": 0.0})
    params, _ = jax.jit(lambda: tts.init(jax.random.key(0), config, CHANNELS))()
    example = language(jax.random.key(1))
    draws = jax.jit(lambda key: tts.draw(key, example, config))(jax.random.key(2))
    weight = tts.weight(example, draws)
    variables = Variables(params, {}, {}, {})
    loss = jax.jit(lambda *arguments: tts.loss(*arguments, None, config))
    total, sums = loss(variables, example, draws, weight)
    hidden = np.asarray(draws.hidden_BxT)
    error = np.square(example.x_BxTxC - draws.x0_BxTxC).mean(-1)
    np.testing.assert_allclose(sums["loss_decoder"], error[hidden].sum() / hidden.sum(), rtol=1e-5)
    expected = count = 0
    for ends, row in zip(np.asarray(example.labels["ends"]), hidden):
        for phone in (1, 2):  # the first and the last phone may be cut
            if row[ends[phone] - 1]:
                frames = ends[phone] - ends[phone - 1]
                expected += abs(np.log1p(frames) - np.log(5.0))
                count += 1
    assert sums["phones"] == count
    np.testing.assert_allclose(sums["durations"], expected, rtol=1e-4)
    metrics = tts.metrics(sums, jnp.int32(0), config)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss_durations"], expected / count, rtol=1e-4)


def test_without_durations():
    config = make_config({"tts.duration_weight": 0.0})
    params, _ = jax.eval_shape(lambda: tts.init(jax.random.key(0), config, CHANNELS))
    assert "durations" not in params and "durations" not in tts.averages(config)


def test_it_learns_a_language_of_two_phones():
    """After 300 updates new rows of other lengths are generated, with the right durations."""
    config = make_config(
        {
            "mesh.data": 1,
            "optim.lr": 5e-3,
            "train.steps": 300,
            "flow.ema_decay": 0.9,
            "flow.solver": "euler",
            "flow.sample_steps": 8,
            "flow.guidance": 0.0,
            "features.kind": "log_mel",
            "features.mel_bands": CHANNELS,
            "features.hop": 320,
        }
    )
    features = features_lib.build(config.features)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    frozen = {"mean": np.zeros(CHANNELS, np.float32), "std": np.ones(CHANNELS, np.float32)}
    state, shardings = train_step.init_state(tts.TASK, config, features, frozen, mesh)
    step = train_step.make_train_step(tts.TASK, config, features, mesh, shardings)

    def batch(number):
        example = language(jax.random.key(number))
        samples = np.full(ROWS, FRAMES * 320, np.int32)
        bad = np.zeros(ROWS, bool)
        return Batch(None, samples, bad, example.labels, np.asarray(example.x_BxTxC, np.float16))

    batches = [batch(number) for number in range(20)]
    for number in range(300):
        state, metrics = step(state, batches[number % len(batches)])
    assert metrics["loss_durations"] < 0.2

    example = language(jax.random.key(999))
    variables = state.variables
    got = jax.jit(lambda v, e: tts.samples(v, e, jax.random.key(0), config))(variables, example)
    hidden = np.arange(FRAMES) >= round(tts.PROMPT_SHARE * FRAMES)
    real, generated = (np.asarray(got[name])[:, hidden] for name in ("real", "generated"))
    error = np.square(generated - real).mean() / real.var()
    assert error < 0.15, error
    np.testing.assert_array_equal(got["generated"][:, ~hidden], got["real"][:, ~hidden])
