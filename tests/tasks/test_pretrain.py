"""Joint pretraining: gradients, whole steps, and overfitting one batch of real speech."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from uniwav_jax import features
from uniwav_jax.config import MeshConfig, default_config, from_dict
from uniwav_jax.models import flow, masking, quantizer, teacher, uniwav
from uniwav_jax.parallel.mesh import make_mesh, to_global
from uniwav_jax.tasks import pretrain
from uniwav_jax.train import compiled
from uniwav_jax.train import step as train_step
from uniwav_jax.types import Example, Variables

CHANNELS, FRAMES, ROWS = 20, 40, 16
SMALL = {
    "features.mel_bands": CHANNELS,
    "model.compute_dtype": "float32",
    "model.remat": "none",
    "model.encoder.layers": 2,
    "model.encoder.width": 32,
    "model.encoder.heads": 2,
    "model.encoder.ffn": 64,
    "model.encoder.position_convolutions": 1,
    "model.encoder.position_kernel": 5,
    "model.encoder.position_groups": 4,
    "model.decoder.layers": 2,
    "model.decoder.width": 32,
    "model.decoder.heads": 2,
    "model.decoder.ffn": 48,
    "model.decoder.position_kernel": 5,
    "distillation.top_layers": 2,
    "distillation.codewords": 16,
    "data.row_multiple": ROWS,
    "train.steps": 100,
}


pytestmark = pytest.mark.usefixtures("fast_compilation")


def make_config(changes=None):
    config = default_config("tiny")
    config.update_from_flattened_dict({**SMALL, **(changes or {})})
    return from_dict(config)


def problem(config, rows=4):
    """(parameters, state, example, draws) of white noise; the last row is shorter."""
    x = jax.random.normal(jax.random.key(1), (rows, FRAMES, CHANNELS))
    frames = jnp.full(rows, FRAMES).at[-1].set(25)
    x = jnp.where(masking.frame_mask(frames, FRAMES)[..., None], x, 0)
    params, state = jax.jit(lambda: pretrain.init(jax.random.key(0), config, CHANNELS))()
    example = Example(x, frames)
    return params, state, example, pretrain.draw(jax.random.key(2), example, config)


def loss_of(config):
    """Compiled (params, state, example, draws) -> (loss, sums), without dropout."""

    def loss(params, state, example, draws):
        weight = pretrain.weight(example, draws)
        variables = Variables(params, {}, state, {})
        return pretrain.loss(variables, example, draws, weight, None, config)

    return jax.jit(loss)


def noisy(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + jnp.asarray(0.1 * rng.normal(size=a.shape), a.dtype), tree)


@pytest.mark.parametrize(("prediction", "dtype"), [("dinosr", "float32"), ("spidr", "bfloat16")])
def test_first_losses_are_those_of_an_untrained_model(prediction, dtype):
    changes = {
        "distillation.codewords": 256,
        "distillation.prediction": prediction,
        "flow.weight": 0.25,
        "model.compute_dtype": dtype,
    }
    config = make_config(changes)
    loss, sums = loss_of(config)(*problem(config, rows=32))
    assert 5.0 < sums["loss_encoder"] < 6.2  # ln 256 = 5.55
    assert abs(sums["loss_decoder"] - 2) < 0.1  # zero output compared with x1 - x0
    expected = float(sums["loss_encoder"]) + 0.25 * float(sums["loss_decoder"])
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert {a.dtype for a in jax.tree.leaves((loss, sums))} == {jnp.dtype("float32")}
    assert sums["targets"]["counts"].sum() == 2 * sums["masked_frames"]
    for counts in sums["targets"]["counts"]:  # each masked frame has one codeword per book
        assert counts.sum() == sums["masked_frames"]
    np.testing.assert_allclose(sums["predictions_KxV"].sum(-1), sums["masked_frames"], rtol=1e-4)
    metrics = pretrain.metrics(sums, jnp.int32(0), config)
    assert 0.5 < metrics["masked_share"] < 0.65
    assert metrics["prediction_perplexity"] > 200
    above = float(sums["loss_encoder"]) - math.log(metrics["target_perplexity"])
    assert float(metrics["loss_encoder_above_targets"]) == pytest.approx(above, abs=1e-5)


def test_the_loss_depends_on_the_teacher_only_by_its_codes():
    """Small changes of teacher and codebooks do not change the loss, but other codes do."""
    config = make_config()
    params, state, *rest = problem(config)
    params = noisy(params)
    loss = jax.jit(jax.value_and_grad(lambda s: pretrain_loss(config, params, s, *rest)))
    before, gradient = loss(state)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_array_equal(leaf, 0)
    for part in ("teacher", "codebooks"):
        nearly = jax.tree.map(lambda a: a * (1 + 1e-6), state[part])
        assert loss({**state, part: nearly})[0] == before
        other = jax.tree.map(lambda a: a + 1.0, noisy(state[part]))
        assert abs(loss({**state, part: other})[0] - before) > 1e-3


def pretrain_loss(config, *arguments):
    return loss_of(config)(*arguments)[0]


def test_every_parameter_is_trained_and_the_decoder_trains_the_encoder():
    config = make_config({"distillation.prediction": "dinosr", "flow.condition_drop": 0.5})
    params, state, *rest = problem(config)
    params = noisy(params)
    assert 0 < rest[-1].drop_B.sum() < 4
    only_encoder = dataclasses.replace(config, flow=dataclasses.replace(config.flow, weight=0.0))
    both, encoder = (
        jax.jit(jax.grad(functools.partial(pretrain_loss, c)))(params, state, *rest)
        for c in (config, only_encoder)
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(both):
        assert np.abs(leaf).max() > 0, f"no gradient at {jax.tree_util.keystr(path)}"
    difference = both["encoder"]["project"]["kernel"] - encoder["encoder"]["project"]["kernel"]
    assert np.abs(difference).max() > 1e-6
    np.testing.assert_array_equal(encoder["decoder"]["out"]["kernel"], 0)


def test_a_frozen_encoder_leaves_only_the_decoder_to_train():
    """Its dropout is off, and neither it, its heads, the teacher nor the codebooks move."""
    changes = {"flow.encoder_frozen": True, "init_from": "run", "model.encoder.dropout": 0.5}
    config = make_config({**changes, "distillation.mfcc_until": 1.0})
    assert set(pretrain.freezes(config)) == {"encoder", "heads", "mfcc_head"}
    config = make_config(changes)
    assert set(pretrain.TASK.freezes(config)) == {"encoder", "heads"}
    assert pretrain.TASK.freezes(make_config()) == {}
    params, state, example, draws = problem(config)
    params, weight = noisy(params), pretrain.weight(example, draws)

    def loss(params, key):
        variables = Variables(params, {}, state, {})
        return pretrain.loss(variables, example, draws, weight, key, config)

    (total, sums), found = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, None)
    for part, gradient in found.items():
        trained = part in ("condition", "decoder")
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            assert (np.abs(leaf).max() > 0) == trained, (part, jax.tree_util.keystr(path))
    again, _ = jax.jit(loss)(params, jax.random.key(0))
    assert float(again) == pytest.approx(float(total), rel=1e-6)
    after = pretrain.update(Variables(params, {}, state, {}), sums, jnp.int32(5), config)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    per_second = (uniwav.train_flops_per_second(c, CHANNELS, 50.0) for c in (config, make_config()))
    assert next(per_second) < 0.8 * next(per_second)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_targets_count_only_on_hidden_frames(part, monkeypatch):
    """Targets of the encoder and of the decoder are changed on visible frames only."""
    config = make_config()
    params, state, example, draws = problem(config)
    params, hidden = noisy(params), draws.span_mask_BxT
    before, _ = loss_of(config)(params, state, example, draws)
    assign, velocity = quantizer.assign, flow.target

    def losses_with_changed(frames_BxT):
        def other_codes(*arguments):
            codes = assign(*arguments)
            return jnp.where(frames_BxT, (codes + 1) % 16, codes)

        def other_velocity(*arguments):
            return velocity(*arguments) + frames_BxT[..., None]

        if part == "encoder":
            monkeypatch.setattr(quantizer, "assign", other_codes)
        else:
            monkeypatch.setattr(flow, "target", other_velocity)
        return loss_of(config)(params, state, example, draws)[0]

    assert losses_with_changed(~hidden) == before
    assert abs(losses_with_changed(hidden) - before) > 1e-3


def test_padding_does_not_change_the_loss():
    config = make_config()
    params, state, example, draws = problem(config)
    loss = loss_of(config)
    params = noisy(params)
    before, _ = loss(params, state, example, draws)
    real = masking.frame_mask(example.frames_B, FRAMES)[..., None]
    dirty = example.replace(x_BxTxC=jnp.where(real, example.x_BxTxC, 7.0))
    dirty, _ = loss(params, state, dirty, draws)
    np.testing.assert_allclose(dirty, before, rtol=1e-5)


# ---- whole steps -------------------------------------------------------------------------------


def batch_of(audio, samples, mesh):
    rows = len(audio)
    local = {"audio": audio, "samples": samples.astype(np.int32), "bad": np.zeros(rows, bool)}
    return to_global(local, mesh, rows)


def noise_batch(mesh):
    """Sixteen rows of white noise of different loudness and length."""
    rng = np.random.default_rng(0)
    samples = np.linspace(20, FRAMES, ROWS).astype(int) * 320
    audio = rng.normal(size=(ROWS, FRAMES * 320)) * np.linspace(500, 4000, ROWS)[:, None]
    audio *= np.arange(FRAMES * 320) < samples[:, None]
    return batch_of(audio.astype(np.int16), samples, mesh)


def start(config, mesh, batch):
    """A state with this batch's feature statistics, and the compiled step."""
    surface = features.build(config.features)
    raw = np.asarray(surface.raw({}, batch.audio))
    real = np.asarray(masking.frame_mask(surface.output_length(batch.samples), raw.shape[1]))
    statistics = {"mean": raw[real].mean(0), "std": raw[real].std(0)}
    state, shardings = train_step.init_state(pretrain.TASK, config, surface, statistics, mesh)
    return state, train_step.make_train_step(pretrain.TASK, config, surface, mesh, shardings)


def host(tree):
    """A copy on the host that stays valid when the state is donated."""
    return jax.tree.map(np.array, jax.device_get(tree))


def smooth_config(accumulate=1):
    """A large eps makes Adam smooth where gradients vanish."""
    return make_config(
        {"train.accumulate": accumulate, "optim.eps": 1.0, "optim.warmup": 0.0, "optim.hold": 0.5}
    )


@functools.cache
def one_step(accumulate, devices):
    """State and metrics after a step."""
    config = smooth_config(accumulate)
    sizes = MeshConfig(fsdp=2, tensor=2) if devices > 1 else MeshConfig()
    mesh = make_mesh(sizes, devices=jax.devices()[:devices])
    with jax.set_mesh(mesh):
        batch = noise_batch(mesh)
        state, step = start(config, mesh, batch)
        before = host(state)
        state, metrics = step(state, batch)
        return before, host(state), host(metrics)


@pytest.mark.parametrize(("accumulate", "devices"), [(4, 1), (2, 8)])
def test_accumulation_and_devices_change_nothing(accumulate, devices):
    _, whole, whole_metrics = one_step(1, 1)
    _, parts, parts_metrics = one_step(accumulate, devices)

    def assert_near(path, a, b):
        # The tolerance is 1e-5 of the array's largest number, because sums have another order.
        error = np.abs(a - b).max() if a.size else 0
        assert error <= 1e-5 * np.abs(a).max() + 1e-7, jax.tree_util.keystr(path)

    for name in ("params", "opt_state", "ema", "state"):
        jax.tree_util.tree_map_with_path(assert_near, getattr(whole, name), getattr(parts, name))
    for name, value in whole_metrics.items():
        np.testing.assert_allclose(parts_metrics[name], value, rtol=2e-5, err_msg=name)


def test_step_moves_everything_once():
    before, after, metrics = one_step(1, 1)
    assert (after.step, metrics["skipped"]) == (1, 0)
    new = after.params
    assert np.abs(new["heads"]["kernel"] - before.params["heads"]["kernel"]).max() > 0
    # The teacher is the average of the old teacher and the new student, whose input path it shares.
    kernel = [
        tree["layers"]["up"]["kernel"].astype(np.float64)
        for tree in (before.state["teacher"], new["encoder"], after.state["teacher"])
    ]
    decay = float(teacher.decay_at(jnp.int32(0), make_config().distillation, 100))
    assert decay < 1
    expected = decay * kernel[0] + (1 - decay) * kernel[1]
    np.testing.assert_allclose(kernel[2], expected, atol=2e-8)
    for name in ("norm_input", "project", "positions"):
        ours, theirs = after.state["teacher"][name], new["encoder"][name]
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    # The average for sampling starts with decay (1 + 0) / (10 + 0).
    expected = 0.1 * before.ema["condition"]["mix"] + 0.9 * new["condition"]["mix"]
    np.testing.assert_allclose(after.ema["condition"]["mix"], expected, atol=1e-8)
    # It counts real frames of all rows, in seconds.
    assert metrics["audio_seconds"] == pytest.approx(
        (np.linspace(20, FRAMES, ROWS).astype(int) * 0.02).sum(), rel=1e-5
    )


def test_non_finite_batch_changes_nothing_but_the_counts():
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    with jax.set_mesh(mesh):  # the compiled step is that of `one_step`
        batch = noise_batch(mesh)
        state, step = start(smooth_config(), mesh, batch)
        good = host(state.frozen)
        broken = jax.tree.map(lambda a: np.full_like(a, np.nan), good)
        before = host((state.params, state.opt_state, state.ema, state.state))
        for skips in (1, 2):
            state, metrics = step(dataclasses.replace(state, frozen=broken), batch)
            assert not np.isfinite(metrics["loss"])
            after = host((state.params, state.opt_state, state.ema, state.state))
            jax.tree.map(np.testing.assert_array_equal, after, before)
            assert int(state.step) == skips
            np.testing.assert_array_equal(state.skipped, [skips, skips])
        state, metrics = step(dataclasses.replace(state, frozen=good), batch)
        assert np.isfinite(metrics["loss"])
        np.testing.assert_array_equal(state.skipped, [2, 0])  # in total, in a row
        moved = host(state.params)["heads"]["kernel"] - before[0]["heads"]["kernel"]
        assert np.abs(moved).max() > 0


def test_one_batch_of_speech_is_overfitted(small_corpus):
    steps = 80
    changes = {
        "train.steps": steps,
        "optim.lr": 5e-3,
        "model.encoder.width": 64,
        # Positions must reach over a span of ten frames, or all hidden frames look alike.
        "model.encoder.position_convolutions": 2,
        "model.encoder.position_kernel": 19,
    }
    config = make_config(changes)
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    clips = sorted(small_corpus.glob("*.flac"))[4:6]
    audio = [soundfile.read(clip, frames=32000, dtype="int16")[0] for clip in clips]
    samples = np.array([len(clip) for clip in audio])
    audio = np.stack([np.pad(clip, (0, 32000 - len(clip))) for clip in audio])
    batch = batch_of(audio, samples, mesh)
    state, step = start(config, mesh, batch)
    history = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    first = history[0]
    last = {name: np.mean([line[name] for line in history[-10:]]) for name in first}
    assert abs(first["loss_encoder"] - math.log(16)) < 0.5
    assert abs(first["loss_decoder"] - 2) < 0.3
    assert last["loss_encoder"] < 0.6 * first["loss_encoder"]
    # Predicting only the codewords' frequencies costs the logarithm of the perplexity.
    assert last["loss_encoder"] < math.log(last["target_perplexity"]) - 0.3
    assert last["loss_decoder"] < math.pi / 2 - 0.1  # the best guess from x_t alone on white noise
    assert last["target_perplexity"] > 4  # trained without collapse


def test_without_weight_the_decoder_is_not_computed():
    """flow.weight=0 is DinoSR: the encoder's loss is unchanged, and the decoder is not computed."""
    config = make_config()
    alone = dataclasses.replace(config, flow=dataclasses.replace(config.flow, weight=0.0))
    arguments = problem(config)
    both, sums = loss_of(config)(*arguments)
    only, sums_alone = loss_of(alone)(*arguments)
    np.testing.assert_allclose(only, sums["loss_encoder"], rtol=1e-6)
    assert both > only + 1 and sums_alone["loss_decoder"] == 0
    counts = [
        compiled.matmul_flops(jax.make_jaxpr(loss_of(c))(*arguments)) for c in (config, alone)
    ]
    assert counts[1] < 0.7 * counts[0]
    flops = [uniwav.train_flops_per_second(c, CHANNELS, 50.0) for c in (config, alone)]
    assert flops[1] < 0.7 * flops[0]
