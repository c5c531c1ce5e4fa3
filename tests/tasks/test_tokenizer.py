"""Speech tokens: what is trained and what is not, the books' starts, losses, and a toy language."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import test_speech_tokens
from tests.tasks import test_pretrain
from uniwav_jax import features as features_lib
from uniwav_jax.config import MeshConfig
from uniwav_jax.errors import UserError
from uniwav_jax.models import flow, masking, quantizer, speech_tokens, uniwav
from uniwav_jax.parallel.mesh import make_mesh, to_global
from uniwav_jax.tasks import tokenizer
from uniwav_jax.train import step as train_step
from uniwav_jax.types import Batch, Example, Variables

CHANNELS, FRAMES, ROWS = test_pretrain.CHANNELS, test_pretrain.FRAMES, 8
UNITS = 6  # vectors of the toy language
SMALL = {
    **test_speech_tokens.SMALL,
    "tokenizer.books": 2,
    "tokenizer.later": 0.1,
    "flow.context": True,
    "data.row_multiple": ROWS,
}
pytestmark = pytest.mark.usefixtures("fast_compilation")


def make_config(changes=None):
    return test_pretrain.make_config({**SMALL, **(changes or {})})


@functools.partial(jax.jit, static_argnames="rows")
def language(key, rows=ROWS):
    """Rows of units of 4 frames; the last row is shorter."""
    vectors = np.random.default_rng(0).normal(size=(UNITS, CHANNELS)).astype(np.float32)
    units = jax.random.randint(key, (rows, FRAMES // 4), 0, UNITS)
    x = jnp.repeat(jnp.asarray(vectors)[units], 4, axis=1)
    frames = jnp.full(rows, FRAMES).at[-1].set(28)
    return Example(jnp.where(masking.frame_mask(frames, FRAMES)[..., None], x, 0), frames)


@pytest.fixture(scope="module")
def started():
    """(configuration, variables after the warm start, example)."""
    config = make_config()
    example = language(jax.random.key(1))

    @jax.jit
    def start(example):
        params, state = tokenizer.init(jax.random.key(0), config, CHANNELS)
        variables = Variables(test_pretrain.noisy(params), {}, state, {})
        key = jax.random.key(3)
        add_up = lambda function, rows: function(*rows)  # noqa: E731
        return variables.replace(
            state=tokenizer.warm_start(key, variables, example, config, add_up)
        )

    return config, start(example), example


def encoded(config, variables, example):
    mask = masking.frame_mask(example.frames_B, FRAMES)
    module = uniwav.encoder_module(config)
    return module.apply({"params": variables.params["encoder"]}, example.x_BxTxC, mask), mask


def test_warm_start_is_k_means(started):
    """Each used codeword is the mean of its frames, up to the last moves of k-means."""
    config, variables, example = started
    seen, mask = encoded(config, variables, example)
    h = speech_tokens.state(seen, config.tokenizer.layer)
    book = variables.state["books"]["first"]
    codes = quantizer.assign(book, h[None])
    counts = quantizer.statistics(h[None], codes, mask, 16)["counts"]
    assert counts.sum() == example.frames_B.sum()
    words = quantizer.codewords(book)[0]
    error = jnp.square(h - words[codes[0]]).mean(-1)[mask].mean()
    assert error < 0.5 * jnp.square(h - h[mask].mean(0)).mean(-1)[mask].mean()


@pytest.fixture(scope="module")
def loss(started):
    config = started[0]
    return jax.jit(
        jax.value_and_grad(
            lambda params, variables, example, draws, weight: tokenizer.loss(
                variables.replace(params=params), example, draws, weight, None, config
            ),
            has_aux=True,
        )
    )


def test_losses_and_gradients(started, loss):
    """What the decoder reads decides which parts learn; the encoder never does."""
    config, variables, example = started
    books = jax.tree.map(lambda a: a, variables.state["books"])
    state = {"books": books, "updates": jnp.float32(50)}
    variables = variables.replace(state=state)
    draws = tokenizer.draw(jax.random.key(2), example, config)
    weight = tokenizer.weight(example, draws)
    seen, mask = encoded(config, variables, example)
    z = uniwav.condition(variables.params["condition"], seen, None)
    h = speech_tokens.state(seen, config.tokenizer.layer)
    tokens = variables.params["tokens"]
    codes, left = speech_tokens.encode(tokens, books, h, z)
    first = speech_tokens.embed(tokens, books, codes[:1])
    both = speech_tokens.embed(tokens, books, codes)
    hidden = draws.hidden_BxT
    for kind, read in {-1: z, 1: first, 2: both, 0: None}.items():
        rows = draws.replace(level_B=jnp.full(ROWS, kind))
        (value, sums), grads = loss(variables.params, variables, example, rows, weight)
        null = variables.params["condition"]["null"]
        read = jnp.where(hidden[..., None] & (kind != 0), z if read is None else read, null)
        masks = (mask, hidden, rows.level_B == 0)
        path = (example.x_BxTxC, draws.x0_BxTxC, draws.t_B)
        expected = flow.velocity_error(
            variables.params["decoder"], *path, read, masks, weight, None, config
        )
        np.testing.assert_allclose(sums["loss_decoder"], expected, rtol=1e-4)
        np.testing.assert_allclose(
            sums["commitment"], (jnp.square(left).mean(-1) * hidden).sum() / weight, rtol=1e-4
        )
        np.testing.assert_allclose(
            sums["projection"], (jnp.square(first - z).mean(-1) * hidden).sum() / weight, rtol=1e-4
        )
        total = expected + 0.25 * sums["commitment"] + sums["projection"]
        np.testing.assert_allclose(value, total, rtol=1e-4)
        for name, level in tokenizer.levels(config).items():
            share = 1.0 if level == kind else 0.0
            np.testing.assert_allclose(sums[name], [share * expected, share], rtol=1e-4, atol=1e-7)
        assert not any(map(jnp.any, jax.tree.leaves(grads["encoder"])))
        assert jnp.any(grads["condition"]["project"]["kernel"]) and jnp.any(tokens["kernel"])
    # Padding never reaches a book's statistics.
    assert sums["first"]["targets"]["counts"].sum() == example.frames_B.sum()
    assert sums["later"]["targets"]["counts"].sum() == example.frames_B.sum()


def test_later_books_start_at_frames_in_their_turn(started, loss):
    config, variables, example = started
    draws = tokenizer.draw(jax.random.key(2), example, config)
    draws = draws.replace(level_B=jnp.full(ROWS, 2))
    later = {}
    for updates in (9, 10, 11):  # the book starts at 0.1 of 100 updates
        state = {**variables.state, "updates": jnp.float32(updates)}
        given = variables.replace(state=state)
        (_, sums), _ = loss(given.params, given, example, draws, 1.0)
        assert (sums["commitment"] > 0) == (updates == 11)
        new = tokenizer.update(given, sums, jnp.int32(updates), config)
        later[updates] = new["books"]["later"]
        assert new["updates"] == updates + 1
    old = variables.state["books"]["later"]
    np.testing.assert_array_equal(later[9]["sums"], old["sums"])
    np.testing.assert_array_equal(later[10]["sums"], sums["later"]["candidates"]["sums"])
    assert (later[11]["sums"] != old["sums"]).any() and (later[10]["counts"] == 1).all()


def test_a_second_stage_keeps_the_codes(started, loss):
    config, variables, example = started
    fixed = dataclasses.replace(config.tokenizer, fixed_codes=True)
    second = dataclasses.replace(config, tokenizer=fixed)
    draws = tokenizer.draw(jax.random.key(2), example, config)
    (_, sums), _ = loss(variables.params, variables, example, draws, 1.0)
    new = tokenizer.update(variables, sums, jnp.int32(0), second)
    assert new["books"] is variables.state["books"]
    assert tokenizer.freezes(second).keys() == {"encoder", "condition", "tokens"}
    assert tokenizer.freezes(config).keys() == {"encoder"}


def test_the_layer_comes_from_a_report(tmp_path):
    layers = [{"layer": n + 1, "pnmi": pnmi} for n, pnmi in enumerate((0.2, 0.4))]
    path = tmp_path / "units.json"
    path.write_text(json.dumps({"encoder": {"states": layers}}))
    config = make_config({"tokenizer.layer": -1, "tokenizer.units": str(path)})
    assert tokenizer.with_layer(config, "").tokenizer.layer == 2
    # Clusters of other speakers count more.
    other = {"encoder": {"states": [layers[1], {"layer": 1, "pnmi": 0.5}]}}
    path.write_text(json.dumps({"encoder": {"states": layers}, "fit_manifest": other}))
    assert tokenizer.with_layer(config, "").tokenizer.layer == 1
    assert tokenizer.with_layer(make_config(), "").tokenizer.layer == 2
    path.write_text(json.dumps({"encoder": {"states": [{"layer": 9, "pnmi": 1.0}]}}))
    with pytest.raises(UserError, match="names layer 9, but the encoder has 2 layers"):
        tokenizer.with_layer(config, "")
    path.write_text("[]")
    with pytest.raises(UserError, match="is no result of 'uniwav evaluate units --out'"):
        tokenizer.with_layer(config, "")


FINITE = {"tokenizer.levels": (2, 2, 2, 2)}  # 16 codewords


def step_on(devices, accumulate, more):
    """State and metrics after k-means and two updates, at the start of book 2."""
    changes = {"train.accumulate": accumulate, "optim.eps": 1.0, "tokenizer.later": 0.0}
    config = make_config({**changes, "optim.warmup": 0.0, "optim.hold": 0.5, **more})
    sizes = MeshConfig(fsdp=2, tensor=2) if devices > 1 else MeshConfig()
    mesh = make_mesh(sizes, devices=jax.devices()[:devices])
    features = features_lib.build(config.features)
    frozen = {"mean": np.zeros(CHANNELS, np.float32), "std": np.ones(CHANNELS, np.float32)}
    example = language(jax.random.key(7))
    noise = 0.3 * jax.random.normal(jax.random.key(8), example.x_BxTxC.shape)
    local = {
        "latents": np.asarray(example.x_BxTxC + noise, np.float16),
        "samples": np.asarray(example.frames_B * 320, np.int32),
        "bad": np.zeros(ROWS, bool),
        "labels": {},
    }
    if config.tokenizer.ctc:
        phones = np.random.default_rng(1).integers(1, 4, (ROWS, 5), np.int32)
        phones[0, 2:] = phones[5] = -1  # rows differ, and one has none
        local["labels"]["phones"] = phones
    with jax.set_mesh(mesh):
        batch = to_global(local, mesh, ROWS)
        state, shardings = train_step.init_state(tokenizer.TASK, config, features, frozen, mesh)
        start = train_step.make_start_step(tokenizer.TASK, config, features, shardings)
        step = train_step.make_train_step(tokenizer.TASK, config, features, mesh, shardings)
        state = start(state, batch)
        for _ in range(2):
            state, metrics = step(state, batch)
        return test_pretrain.host((state.params, state.state)), test_pretrain.host(metrics)


RECOGNISED = {**FINITE, "tokenizer.ctc": 0.3, "tts.phones": tuple("abc")}


@pytest.mark.parametrize("more", [{}, RECOGNISED], ids=["vector", "finite scalar with CTC"])
def test_devices_and_microbatches_change_nothing(more):
    whole, whole_metrics = step_on(1, 1, more)
    parts, parts_metrics = step_on(8, 2, more)

    def assert_near(path, a, b):
        assert np.abs(a - b).max() <= 2e-5 * np.abs(a).max() + 1e-6, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(assert_near, whole, parts)
    for name, value in whole_metrics.items():
        np.testing.assert_allclose(parts_metrics[name], value, rtol=1e-4, err_msg=name)
    books = whole[1]["books"]
    assert whole[1]["updates"] == 2 and (books["later"]["counts"] != 1).any()
    if more:
        assert whole_metrics["book_1_perplexity"] > 2 and whole_metrics["loss_ctc"] > 0
        np.testing.assert_array_equal(books["first"]["sums"][0], speech_tokens.grid((2, 2, 2, 2)))


@pytest.mark.parametrize("more", [{}, FINITE], ids=["vector", "finite scalar"])
def test_it_learns_the_units_of_a_language(more):
    """Book 1 finds the units, and the decoder speaks them: new rows from tokens alone."""
    config = make_config(
        {
            "optim.lr": 5e-3,
            "train.steps": 200,
            "flow.ema_decay": 0.9,
            "flow.solver": "euler",
            "flow.sample_steps": 8,
            "flow.guidance": 0.0,
            "features.kind": "log_mel",
            "features.mel_bands": CHANNELS,
            "tokenizer.layer": 0,
            **more,
        }
    )
    features = features_lib.build(config.features)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    frozen = {"mean": np.zeros(CHANNELS, np.float32), "std": np.ones(CHANNELS, np.float32)}
    state, shardings = train_step.init_state(tokenizer.TASK, config, features, frozen, mesh)
    encoder = jax.tree.map(np.asarray, state.params["encoder"])
    step = train_step.make_train_step(tokenizer.TASK, config, features, mesh, shardings)
    start = train_step.make_start_step(tokenizer.TASK, config, features, shardings)

    def batch(number):
        example = language(jax.random.key(number))
        samples = np.asarray(example.frames_B * 320, np.int32)
        latents = np.asarray(example.x_BxTxC, np.float16)
        return Batch(None, samples, np.zeros(ROWS, bool), {}, latents)

    batches = [batch(number) for number in range(10)]
    state = start(state, batches[0])
    for number in range(200):
        state, metrics = step(state, batches[number % 10])
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], encoder)
    # Codewords that start from frames divide the units further than a grid does.
    least = UNITS - 2 if more else UNITS
    assert metrics["book_1_perplexity"] > least and metrics["loss_1_book"] < 0.5
    # The optimizer has no moments for the frozen encoder.
    named = jax.tree_util.tree_leaves_with_path(state.opt_state)
    assert not any("encoder" in jax.tree_util.keystr(path) for path, _ in named)

    example = language(jax.random.key(999))
    got = jax.jit(lambda v, e: tokenizer.samples(v, e, jax.random.key(0), config))(
        state.variables, example
    )
    assert got.keys() == {"real", "unquantised", "1_book", "2_books"}
    mask = np.asarray(masking.frame_mask(example.frames_B, FRAMES))
    real = np.asarray(example.x_BxTxC)[mask]
    for name in ("unquantised", "1_book", "2_books"):
        error = np.square(np.asarray(got[name])[mask] - real).mean() / real.var()
        assert error < (0.5 if more else 0.3), (name, error)  # FSQ learns its codes too
