"""Clusters of MFCCs as targets: the loss in closed form, the phases of a run, moving codewords."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.test_pretrain import FRAMES, make_config, problem
from uniwav_jax.models import quantizer
from uniwav_jax.tasks import mfcc_targets, pretrain
from uniwav_jax.types import Variables

WORDS, ROWS = 16, 4
pytestmark = pytest.mark.usefixtures("fast_compilation")


def with_mfcc(changes):
    """(config, variables, example, draws) with random MFCCs of a mean and scale of their own."""
    config = make_config(changes)
    params, state, example, _ = problem(config, rows=ROWS)
    mfcc = 5.0 + 3.0 * jax.random.normal(jax.random.key(3), (ROWS, FRAMES, mfcc_targets.MFCCS))
    example = example.replace(labels={"mfcc": mfcc})
    draws = jax.jit(lambda key: pretrain.draw(key, example, config))(jax.random.key(2))
    return config, Variables(params, {}, state, {}), example, draws


def add_up(function, rows):
    """The sum over two microbatches."""
    halves = [jax.tree.map(lambda a, i=i: a[i::2], rows) for i in range(2)]
    return jax.tree.map(jnp.add, *(function(*half) for half in halves))


def start(config, variables, example):
    key = jax.random.key(4)
    warm_start = jax.jit(lambda *given: pretrain.warm_start(key, *given, config, add_up))
    state = warm_start(variables, example)
    return variables.replace(state=state)


def sums_of(config, variables, example, draws):
    """What the loss adds up over the frames."""
    loss = jax.jit(lambda *given: pretrain.loss(*given, 1.0, None, config)[1])
    return loss(variables, example, draws)


def frames_of(example, row):
    """A row's real MFCCs with zero mean and unit variance."""
    real = np.asarray(example.labels["mfcc"][row])[: int(example.frames_B[row])]
    return (real - real.mean(0)) / np.sqrt(real.var(0) + 1e-5)


def test_codewords_start_at_normalised_frames_of_the_batch():
    config, variables, example, _ = with_mfcc({"distillation.mfcc_until": 0.5})
    words = np.asarray(quantizer.codewords(start(config, variables, example).state["mfcc"]))[0]
    frames = np.concatenate([frames_of(example, row) for row in range(ROWS)])
    apart = np.abs(words[:, None] - frames[None]).max(-1).min(-1)
    assert apart.max() < 1e-3, "every codeword is one of the frames"


@pytest.mark.parametrize(
    ("changes", "updates", "weights"),
    [
        ({"distillation.mfcc_until": 0.5}, 49, (0, 1, 1)),
        ({"distillation.mfcc_until": 0.5}, 50, (1, 0, 1)),
        ({"distillation.mfcc_until": 0.5, "distillation.mfcc_weight": 0.3}, 50, (1, 0.3, 1)),
        ({"distillation.mfcc_weight": 2.0}, None, (1, 2, 1)),
        ({"flow.start": 0.2}, 19, (1, 0, 0)),
        ({"flow.start": 0.2}, 20, (1, 0, 1)),
    ],
)
def test_phases_decide_which_losses_are_trained(changes, updates, weights):
    """100 updates: the loss is the weighted sum, and losses of weight 0 give no gradient."""
    config, variables, example, draws = with_mfcc(changes)
    if config.distillation.mfcc:
        variables = start(config, variables, example)
    state = dict(variables.state)
    assert ("updates" in state) == (updates is not None)
    if updates is not None:
        state["updates"] = jnp.float32(updates)
    variables = variables.replace(state=state)

    @jax.jit
    def loss(params):
        weight = pretrain.weight(example, draws)
        return pretrain.loss(variables.replace(params=params), example, draws, weight, None, config)

    (total, sums), gradient = jax.value_and_grad(loss, has_aux=True)(variables.params)
    parts = (
        sums["loss_encoder"],
        sums["mfcc"]["loss"] if "mfcc" in sums else 0.0,
        sums["loss_decoder"],
    )
    expected = sum(weight * part for weight, part in zip(weights, parts))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    metrics = pretrain.metrics(sums, jnp.int32(updates or 0), config)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    for part, weight in zip(("heads", "mfcc_head", "decoder"), weights):
        if part in gradient:
            moved = any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(gradient[part]))
            assert moved == (weight > 0), part


def test_the_loss_is_the_cross_entropy_of_the_nearest_cluster():
    config, variables, example, draws = with_mfcc({"distillation.mfcc_weight": 1.0})
    books = start(config, variables, example).state["mfcc"]
    variables = variables.replace(state={**variables.state, "mfcc": books})
    sums = sums_of(config, variables, example, draws)
    hidden = np.asarray(draws.span_mask_BxT)
    # The untrained head's logits are small, so that the loss is near ln V on every frame.
    assert float(sums["mfcc"]["loss"]) / hidden.sum() == pytest.approx(np.log(WORDS), abs=0.2)
    words = np.asarray(quantizer.codewords(books))[0]
    x = np.concatenate(
        [frames_of(example, row)[hidden[row, : int(n)]] for row, n in enumerate(example.frames_B)]
    )
    nearest = np.square(x[:, None] - words).sum(-1).argmin(-1)
    counts = np.bincount(nearest, minlength=WORDS)
    np.testing.assert_array_equal(sums["mfcc"]["targets"]["counts"][0], counts)


def test_rarely_used_codewords_move_to_masked_frames():
    config, variables, example, draws = with_mfcc(
        {"distillation.mfcc_weight": 1.0, "distillation.codebook_dead": 0.1}
    )
    variables = start(config, variables, example)
    far = variables.state["mfcc"]["sums"].at[0, 3].set(1e6)  # nothing is near this codeword
    counts = variables.state["mfcc"]["counts"].at[0, 3].set(0.1)
    books = {**variables.state["mfcc"], "sums": far, "counts": counts}
    variables = variables.replace(state={**variables.state, "mfcc": books})
    sums = sums_of(config, variables, example, draws)
    after = pretrain.update(variables, sums, jnp.int32(1), config)["mfcc"]
    word = np.asarray(after["sums"][0, 3] / after["counts"][0, 3])
    frames = np.concatenate([frames_of(example, row) for row in range(ROWS)])
    assert np.abs(frames - word).max(-1).min() < 1e-3


def test_visible_frames_count_on_request():
    """The loss is linear in their weight, and padding never counts."""
    losses = []
    for weight in (0.0, 1.0, 2.0):
        config, variables, example, draws = with_mfcc(
            {"distillation.mfcc_weight": 1.0, "distillation.mfcc_visible": weight}
        )
        variables = start(config, variables, example)
        sums = sums_of(config, variables, example, draws)
        losses.append(float(sums["mfcc"]["loss"]))
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)
    visible = int(example.frames_B.sum() - draws.span_mask_BxT.sum())
    assert (losses[1] - losses[0]) / visible == pytest.approx(np.log(WORDS), abs=0.2)
