"""The codec's training: balanced gradients, separated sides, and overfitting one batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.losses import codec_training as losses
from uniwav_jax.tasks import codec
from uniwav_jax.types import Example, Variables


def small(**options):
    values = default_config("tiny")
    values.task, values.features.kind = "codec", "waveform"
    structure = {"filters": 4, "dimension": 16, "lstm": 0, "ratios": (8, 5, 4, 2)}
    values.codec.structure.update({**structure, **options.pop("structure", {})})
    values.codec.mdct.update(options.pop("mdct", {}))
    values.codec.update(discriminator_filters=2, discriminator_windows=(256,), **options)
    return from_dict(values)


LOSS = jax.jit(codec.loss, static_argnums=5)
MDCT = {
    "kind": "mdct",
    "mdct": {"width": 8, "inner": 8, "shape": 4, "quadrature": 2, "bands": 3, "free": 2},
    "bottleneck": "relative_noise",
    "noise": 0.8,
    "spectrum_share": 1.0,
    **{f"{name}_share": 0.0 for name in ("wave", "mel", "adversarial", "features")},
}
RVQ = {"bottleneck": "rvq", "structure": {"codebooks": 3, "codewords": 32}}


@pytest.fixture(scope="module")
def x(clip):
    return jnp.asarray(clip[8000 : 8000 + 4 * 2560].reshape(4, 2560, 1))


def setup(config, x):
    params, state = jax.jit(codec.init, static_argnums=(1, 2))(jax.random.key(0), config, 1)
    example = Example(x, jnp.full(len(x), x.shape[1]))
    return Variables(params, {}, state, {}), example, codec.draw(jax.random.key(1), example, config)


def gradient_of(variables, *rest, config):
    """Gradient with respect to the parameters, and sums."""

    def loss(params):
        return codec.loss(variables.replace(params=params), *rest, config)

    return jax.grad(loss, has_aux=True)(variables.params)


def test_microbatches_sum_to_the_whole(x):
    """Sums are equal, gradients are not: the balancer's norms are those of a microbatch."""
    config = small()
    variables, example, draws = setup(config, x)
    key, norm = jax.random.key(2), codec.weight(example, draws)
    _, whole = LOSS(variables, example, draws, norm, key, config)
    halves = []
    for first in range(2):
        rows = jax.tree.map(lambda a, first=first: a[first::2], (example, draws))
        halves.append(LOSS(variables, *rows, norm, key, config)[1])
    total = jax.tree.map(jnp.add, *halves)
    for name in ("loss_wave", "loss_mel", "loss_adversarial", "z_square", "rows"):
        np.testing.assert_allclose(total[name], whole[name], rtol=1e-3, err_msg=name)


def test_gradients_are_shared_and_sides_are_separate(x):
    """The shares of the generator's gradient are equal, whatever the losses' own scales."""
    variables, example, draws = setup(small(), x)
    gradient = jax.jit(gradient_of, static_argnames="config")

    def of(**shares):
        config = small(penalty=0.0, **{f"{n}_share": shares.get(n, 0.0) for n in codec.SHARED})
        norm, key = codec.weight(example, draws), jax.random.key(2)
        return gradient(variables, example, draws, norm, key, config=config)[0]

    mel, features, mixed = of(mel=1.0), of(features=1.0), of(mel=1.0, features=1.0)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, mel["generator"], features["generator"])
    for ours, expected in zip(
        jax.tree.leaves(mixed["generator"]), jax.tree.leaves(mean), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max() + 1e-6)
    assert 0.01 < optax.tree.norm(features["generator"]) / optax.tree.norm(mel["generator"]) < 100
    # The discriminator's gradient does not depend on the shares, unless nobody uses it.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        features["discriminator"],
        mixed["discriminator"],
    )
    assert optax.tree.norm(mel["discriminator"]) == 0
    assert optax.tree.norm(mixed["discriminator"]) > 0


@pytest.mark.parametrize("fine_noise", [0.0, 1.5])
def test_relative_noise_is_a_share_of_each_channels_deviation(fine_noise):
    """On request fine channels, the first of this structure, have a level of their own."""
    config = small(**{**MDCT, "fine_noise": fine_noise})
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 40, 11)) * np.arange(1, 12))
    rows = Example(jnp.zeros((3, 40 * 320, 1)), jnp.asarray([40, 40, 0]) * 320)
    draws = codec.draw(jax.random.key(0), rows, config)
    noisy, penalty, sums = codec._bottleneck({}, z, draws, config, train=True)
    assert penalty == 0.0
    np.testing.assert_allclose(sums["deviation_C"], z[:2].std((0, 1)), rtol=1e-4)  # row 2 is empty
    fine = (np.asarray(config.codec.mdct.scale) < 1) & (fine_noise > 0)
    assert fine.sum() < 11
    level = np.where(fine, fine_noise * draws.fine_level_B[:, None], 0.8 * draws.level_B[:, None])
    expected = level[:, None] * z[:2].std((0, 1)) * draws.noise_BxTxC
    np.testing.assert_allclose(noisy - z, expected, rtol=1e-3, atol=1e-4)
    assert draws.level_B.min() > 0.0 and draws.level_B.max() < 1.0
    clean, *_ = codec._bottleneck({}, z, draws, config, train=False)
    np.testing.assert_array_equal(clean, z)


def test_without_an_adversarial_share_there_is_no_discriminator(x):
    config = small(**MDCT)
    variables, example, draws = setup(config, x)
    assert set(variables.params) == {"generator"} and set(variables.state["norms"]) == {"spectrum"}
    weight = codec.weight(example, draws)
    _, sums = LOSS(variables, example, draws, weight, jax.random.key(2), config)
    metrics = codec.metrics(sums, 0, config)
    assert metrics["loss"] == metrics["loss_spectrum"] > 0 and "loss_mel" not in metrics
    assert metrics["dead_channels"] == 0.0
    dead = sums | {"deviation_C": sums["deviation_C"].at[0].set(1e-5)}
    assert codec.metrics(dead, 0, config)["dead_channels"] == pytest.approx(1 / 11)


@pytest.mark.parametrize("options", [{}, RVQ], ids=["noise", "rvq"])
def test_overfits_one_batch(x, options):
    config = small(**options)
    variables, example, _ = setup(config, x[:2])
    optimizer = optax.adam(3e-3, b1=0.5, b2=0.9)

    @jax.jit
    def step(variables, opt_state, index):
        key = jax.random.fold_in(jax.random.key(3), index)
        draws = codec.draw(key, example, config)
        weight = codec.weight(example, draws)
        grads, sums = gradient_of(variables, example, draws, weight, key, config=config)
        updates, opt_state = optimizer.update(grads, opt_state)
        new = variables.replace(params=optax.apply_updates(variables.params, updates))
        return new.replace(state=codec.update(new, sums, index, config)), opt_state, sums

    opt_state, mel = optimizer.init(variables.params), []
    for index in range(60):
        variables, opt_state, sums = step(variables, opt_state, jnp.asarray(index))
        mel.append(float(sums["loss_mel"]))
    assert np.isfinite(mel).all()
    assert np.mean(mel[-5:]) < 0.75 * np.mean(mel[:3]), mel
    metrics = codec.metrics(sums, jnp.asarray(60), config)
    if options:
        assert 2 < float(metrics["codebook_perplexity"]) <= 32
        assert float(metrics["active_codewords"]) > 2


def test_quantiser_dropout_leaves_out_later_stages(x):
    config = small(**RVQ)
    state = setup(config, x)[0].state
    z = jax.random.normal(jax.random.key(5), (4, 25, 16))
    silence = Example(jnp.zeros((4, 25 * 320, 1)), jnp.full(4, 8000))
    draws = codec.draw(jax.random.key(6), silence, config)
    draws = draws.replace(stages_B=jnp.array([1, 2, 3, 1]))
    used, _, sums = codec._bottleneck(state, z, draws, config, train=True)
    counts = sums["targets"]["counts"].sum(-1)
    assert counts.tolist() == [100.0, 50.0, 25.0]
    full, _, _ = codec._bottleneck(state, z, draws, config, train=False)
    np.testing.assert_allclose(full[2], used[2], atol=1e-6)
    assert np.abs(full[0] - used[0]).max() > 1e-3
    gradient = jax.grad(lambda z: codec._bottleneck(state, z, draws, config, train=True)[0].sum())(
        z
    )
    np.testing.assert_allclose(gradient, 1.0)  # the gradient passes straight through


def test_samples_pass_through_the_quantiser(x):
    """Rendered and scored samples are decoded from the codewords, as in use of the codec."""
    config = small(**RVQ)
    variables, example, _ = setup(config, x)
    variables = variables.replace(ema=variables.params)
    decoded = codec.samples(variables, example, jax.random.key(0), config)["decoded"]
    books = jax.tree.map(lambda a: a + 1.0, variables.state["codebooks"])
    other = variables.replace(state={**variables.state, "codebooks": books})
    assert decoded.shape == x.shape
    again = codec.samples(other, example, jax.random.key(0), config)["decoded"]
    assert np.abs(decoded - again).max() > 1e-4


def test_norms_start_with_the_first_gradients(x):
    config = small()
    variables, example, draws = setup(config, x)
    key, norm = jax.random.key(0), codec.weight(example, draws)
    _, sums = LOSS(variables, example, draws, norm, key, config)
    new = codec.update(variables, sums, jnp.asarray(0), config)
    assert set(sums["norms"]) == {"wave", "mel", "adversarial", "features"}
    for name in sums["norms"]:
        assert float(sums["norms"][name]) > 0
        np.testing.assert_allclose(new["norms"][name], 0.9 * sums["norms"][name], rtol=1e-5)
    # This is the mean of the rows' norms 5 and 10; the third row is padding of the batch.
    rows = jnp.array([[3.0, 4.0], [6.0, 8.0], [9.0, 9.0]])
    norms = losses.gradient_norms({"a": rows, "b": 2 * rows}, jnp.array([1.0, 1.0, 0.0]))
    assert {name: float(norm) for name, norm in norms.items()} == {"a": 7.5, "b": 15.0}
