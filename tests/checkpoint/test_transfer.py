"""Starting a run from the parts of another run whose arrays have the same meaning."""

import ast
import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.checkpoint import older
from tests.codec.random_codec import random_codec
from tests.train.small import ASR, CODEC, MEANINGS, configuration
from uniwav_jax import features as features_lib
from uniwav_jax import tasks
from uniwav_jax.checkpoint import compatibility, reader, store, transfer, weights
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError
from uniwav_jax.tasks import asr
from uniwav_jax.train import step
from uniwav_jax.types import TrainState


@functools.cache
def shapes_of(config):
    features = features_lib.build(config.features)
    statistics = {name: np.zeros(features.channels, np.float32) for name in ("mean", "std")}
    fixed = {**statistics, **features.weights}
    return jax.eval_shape(lambda: step.fresh_state(tasks.get(config.task), config, features, fixed))


def random_state(config, seed):
    """A state with different random numbers for each seed; no model is run."""
    features = features_lib.build(config.features)
    shapes = shapes_of(dataclasses.replace(config, init_from="", init_parts=""))
    random = np.random.default_rng(seed)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(random.standard_normal(leaf.shape), leaf.dtype), shapes
    )
    network = {name: jax.tree.map(jnp.asarray, value) for name, value in features.weights.items()}
    return state.replace(frozen={"features": {**state.frozen["features"], **network}})


def save(workdir, config, seed=1):
    """Save a checkpoint of random parameters; returns its path and the state."""
    state = random_state(config, seed)
    parts = {field: jax.device_get(getattr(state, field)) for field in transfer.FIELDS}
    store.save_parts(str(workdir), parts, config, step=7)
    return str(workdir), state


def take(path, config, parts="", model=None) -> tuple[TrainState, TrainState, str, bool]:
    """The fresh state, the state after taking from `path`, the report and whether to start.

    The fresh state is that of `model`, a configuration, instead of `config` if it is given: this
    saves the tracing of a model whose configuration is refused.
    """
    config = dataclasses.replace(config, init_from=path, init_parts=parts)
    fresh = random_state(model or config, seed=2)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, fresh)
    state, report, taken = transfer.init_from(fresh, shardings, config)
    return fresh, state, "\n".join(report), bool(set(state.state) - taken)


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save(tmp_path_factory.mktemp("pretrained"), configuration())


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return save(tmp_path_factory.mktemp("recogniser"), configuration(ASR))


def test_weights_are_a_start_too(pretrained, tmp_path, monkeypatch):
    """A folder of weights, or the name of one that ships, in float16; what it lacks starts anew."""
    path, theirs = pretrained
    weights.save(path, str(tmp_path / "little"), without=["decoder"])
    monkeypatch.setattr(weights, "INSTALLED", tmp_path)
    for name in (str(tmp_path / "little"), "little"):
        fresh, state, report, _ = take(name, configuration(ASR))
        assert f"init_from {name} (step 7)" in report
        assert "new:  params/ctc/kernel" in report and "decoder" not in report
        assert_same(state.frozen["features"]["mean"], theirs.frozen["features"]["mean"])
        assert_same(state.params["ctc"], fresh.params["ctc"])
        near = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
        jax.tree.map(near, state.params["encoder"], theirs.params["encoder"])


@pytest.mark.parametrize("changes", [{}, ASR, CODEC], ids=["pretrain", "asr", "codec"])
def test_the_same_model_is_taken_completely(changes, tmp_path):
    config = configuration(changes)
    path, theirs = save(tmp_path, config)
    fresh, state, report, start = take(path, config)
    for field in transfer.FIELDS:
        assert_same(getattr(state, field), getattr(theirs, field))
    for field in ("step", "opt_state", "skipped"):
        assert_same(getattr(state, field), getattr(fresh, field))
    assert ", 0 left, 0 new" in report and not start


@pytest.mark.parametrize("field", MEANINGS)
def test_another_meaning_is_an_error_with_the_flags_that_fit(field, pretrained):
    path, theirs = pretrained
    value, ours = MEANINGS[field], configuration()
    with pytest.raises(UserError) as error:
        take(path, configuration({field: value}), model=ours)
    message = str(error.value)
    then = compatibility.values_now(ours)[field]
    assert message.startswith(
        f"config.init_from: {path} has {field} = {then!r}, this run {value!r}"
    )
    assert "\n" not in message
    flags = dict(re.findall(r"--config\.(\S+)=(\S+)", message))
    assert flags.pop(field).rstrip(";") == str(then)
    # The alternative in the rest of the line works as well.
    if "init_parts" in flags:
        _, state, report, _ = take(path, configuration({field: value}), flags["init_parts"])
        assert_same(state.params["encoder"], theirs.params["encoder"])
        assert re.search(r"new:  params/(heads|decoder)", report)
    else:
        assert field.startswith(("model.encoder.", "features."))


def test_fields_that_change_no_meaning_may_differ(pretrained):
    path, theirs = pretrained
    changes = {
        "model.encoder.dropout": 0.3,
        "model.encoder.attention_dropout": 0.3,
        "model.encoder.activation_dropout": 0.3,
        "model.encoder.layer_drop": 0.3,
        "model.decoder.dropout": 0.3,
        "model.compute_dtype": "bfloat16",
        "features.stats_seconds": 3.0,
        "masking.length": 7,
        "distillation.codebook_decay": 0.5,
    }
    _, state, _, _ = take(path, configuration(changes))
    assert_same(state.params, theirs.params)


def test_several_fields_are_named_in_one_line_and_the_flags_help(pretrained):
    path, theirs = pretrained
    other = {
        "model.encoder.norm": "post",
        "model.encoder.position_kernel": 3,
        "model.decoder.positions": "alibi",
    }
    with pytest.raises(UserError) as error:
        take(path, configuration(other))
    flags = dict(re.findall(r"--config\.(\S+)=(\S+)", str(error.value)))
    assert set(flags) == set(other)
    values = {"model.encoder.position_kernel": ast.literal_eval(flags.pop(list(other)[1]))}
    _, state, _, _ = take(path, configuration({**other, **flags, **values}))
    assert_same(state.params, theirs.params)


def test_parts_by_name(pretrained, recogniser):
    path, theirs = pretrained
    fresh, state, report, start = take(path, configuration(), "encoder, decoder")
    assert_same(state.params["encoder"], theirs.params["encoder"])
    assert_same(state.ema, theirs.ema)
    assert_same(state.params["heads"], fresh.params["heads"])
    assert_same(state.state["codebooks"], fresh.state["codebooks"])
    assert "left: params/heads/kernel" in report and "new:  params/heads/kernel" in report
    assert start
    with pytest.raises(UserError, match=r"config\.init_parts: 'ctc' .* encoder, heads, decoder$"):
        take(path, configuration(), "ctc")
    with pytest.raises(UserError, match=r"config\.init_parts: 'heads'"):
        take(recogniser[0], configuration(), "heads")
    with pytest.raises(UserError, match=r"config\.init_parts names parts"):
        configuration({"init_parts": "encoder"})


def test_recognition_takes_the_encoder_of_pretraining(pretrained):
    path, theirs = pretrained
    fresh, state, report, _ = take(path, configuration(ASR))
    assert_same(state.params["encoder"], theirs.params["encoder"])
    assert_same(state.params["ctc"], fresh.params["ctc"])
    assert_same(state.frozen, theirs.frozen)
    assert "left: params/decoder" in report and "new:  params/ctc/kernel" in report
    # Otherwise random layers would be frozen here.
    with pytest.raises(UserError, match=r"model\.encoder\.layers = 2, this run 3"):
        take(path, configuration({**ASR, "model.encoder.layers": 3, "asr.frozen": True}))


def test_pretraining_takes_the_encoder_of_a_recogniser_for_the_teacher_too(recogniser):
    """A random teacher would give a trained student random targets."""
    path, theirs = recogniser
    fresh, state, report, start = take(path, configuration())
    assert_same(state.params["encoder"], theirs.params["encoder"])
    assert_same(state.state["teacher"], theirs.params["encoder"])
    assert_same(state.state["codebooks"], fresh.state["codebooks"])
    assert "state/teacher: a copy of params/encoder" in report
    assert start  # codewords start at frames of the first batch if so configured


def test_the_head_of_a_permuted_alphabet_is_taken_by_symbol(recogniser):
    """Each symbol keeps its scores; copied in order they would be those of another symbol."""
    path, theirs = recogniser
    ours, permuted = configuration(ASR), configuration({**ASR, "text.symbols": tuple("b|ca")})
    _, state, report, _ = take(path, permuted)
    assert "0 left, 0 new" in report and "blank and of 4 symbols are taken by name" in report
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 12, 8)), jnp.float32)
    frames = jnp.array([12, 9])
    before, after = (
        np.asarray(jax.jit(asr.logits, static_argnums=3)(params, x, frames, config))
        for params, config in ((theirs.params, ours), (state.params, permuted))
    )
    for number, symbol in enumerate(permuted.text.symbols, start=1):
        column = 1 + ours.text.symbols.index(symbol)
        np.testing.assert_array_equal(after[..., number], before[..., column], err_msg=symbol)
    np.testing.assert_array_equal(after[..., 0], before[..., 0])
    assert np.abs(after[..., 1] - before[..., 1]).max() > 0.1  # the orders are distinguishable


def test_symbols_of_both_alphabets_are_taken_and_others_start_fresh(recogniser):
    path, theirs = recogniser
    fresh, state, report, _ = take(path, configuration({**ASR, "text.symbols": tuple("éc|ab'")}))
    columns = [0, None, 3, 4, 1, 2, None]
    for name in ("kernel", "bias"):
        head, there, new = (s.params["ctc"][name] for s in (state, theirs, fresh))
        for ours, column in enumerate(columns):
            expected = new[..., ours] if column is None else there[..., column]
            np.testing.assert_array_equal(head[..., ours], expected)
    assert "blank and of 4 symbols are taken by name; new symbols: é '" in report
    _, _, report, _ = take(path, configuration({**ASR, "text.symbols": tuple("ab")}))
    assert "blank and of 2 symbols are taken by name; symbols not used here: c |" in report


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"text.symbols": tuple("жщ")}, "have no symbol in common"),
        ({"text.units": "tokens"}, "text.units is 'letters' there and 'tokens' here"),
        ({"text.units": "tokens", "text.lexicon": "cmudict"}, "text.units is 'letters'"),
        ({"asr.layers": "mix"}, "asr.layers is 'last' there and 'mix' here"),
    ],
)
def test_a_head_of_another_kind_starts_anew_with_a_note(changes, why, recogniser):
    path, theirs = recogniser
    fresh, state, report, _ = take(path, configuration({**ASR, **changes}))
    assert_same(state.params["encoder"], theirs.params["encoder"])
    assert_same(state.params["ctc"], fresh.params["ctc"])
    assert "ctc: the head starts anew, because " in report and why in report


def test_prediction_heads_without_their_codebooks_start_anew(tmp_path):
    """An exported student has such heads, which would predict codewords of other codebooks."""
    config = configuration()
    state = random_state(config, seed=1)
    parts = {field: jax.device_get(getattr(state, field)) for field in transfer.FIELDS}
    store.save_parts(str(tmp_path), {**parts, "state": {}}, config, step=7)
    fresh, taken, report, start = take(str(tmp_path), config)
    assert_same(taken.params["encoder"], parts["params"]["encoder"])
    assert_same(taken.params["heads"], fresh.params["heads"])
    assert "heads: starts anew, because there is no state/codebooks" in report
    assert start  # the codebooks start from the first batch
    with pytest.raises(UserError, match=r"config\.init_parts: .* has no heads to start from"):
        take(str(tmp_path), config, "encoder,heads")


def test_mixing_weights_are_taken_with_the_head(tmp_path):
    config = configuration({**ASR, "asr.layers": "mix"})
    path, theirs = save(tmp_path, config)
    _, state, _, _ = take(path, config)
    assert_same(state.params["ctc"]["mix"], theirs.params["ctc"]["mix"])


def test_tasks_without_a_common_part(tmp_path):
    path, _ = save(tmp_path, configuration(CODEC))
    with pytest.raises(UserError, match=r"is a run of task codec and has no part .* \(encoder, h"):
        take(path, configuration())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codec.structure.true_skip", True),
        ("codec.structure.ratios", (10, 4, 4, 2)),
        ("codec.structure.residual_layers", 2),
        ("codec.discriminator_windows", (512, 2048, 1024)),
    ],
)
def test_codecs_of_another_structure(field, value, tmp_path):
    path, theirs = save(tmp_path, configuration(CODEC))
    with pytest.raises(UserError, match=rf"has {field} = ") as error:
        take(path, configuration({**CODEC, field: value}))
    if "discriminator" in field:
        assert str(error.value).endswith("--config.init_parts=generator")
        fresh, state, *_ = take(path, configuration({**CODEC, field: value}), "generator")
        assert_same(state.params["generator"], theirs.params["generator"])
        assert_same(state.params["discriminator"], fresh.params["discriminator"])


def test_latents_must_be_of_the_same_codec(tmp_path):
    """The folder may have another path; a codec with other weights has other latents."""
    structure, settings = SEANetConfig(filters=4, dimension=8, lstm=0), {}
    weights = random_codec(structure)
    other = jax.tree.map(lambda a: a + 1, weights)
    for name, numbers in (("a", weights), ("b", weights), ("c", other)):
        files.save(str(tmp_path / name), structure, numbers, info={})
        settings[name] = {"features.kind": "codec", "features.codec": str(tmp_path / name)}
    path, theirs = save(tmp_path / "run", configuration(settings["a"]))
    _, state, _, _ = take(path, configuration(settings["b"]))
    assert_same(state.params, theirs.params)
    with pytest.raises(UserError, match=r"another codec than config\.features\.codec \(.*/c\)"):
        take(path, configuration(settings["c"]))


def edit_meta(path, change):
    """Change the metadata in place; a copy would need another folder."""
    (file,) = (reader.find(path) / "meta").glob("metadata")
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))


def test_fields_newer_than_the_checkpoint_have_their_defaults(tmp_path):
    path, theirs = save(tmp_path, configuration())

    def as_before(meta):
        del meta["config"]["model"]["encoder"]["norm"], meta["config"]["asr"]
        del meta["config"]["features"]["mel_low"], meta["config"]["init_parts"]

    edit_meta(path, as_before)
    _, state, _, _ = take(path, configuration())
    assert_same(state.params, theirs.params)
    with pytest.raises(UserError, match=r"model\.encoder\.norm = 'pre', this run 'post'"):
        take(path, configuration({"model.encoder.norm": "post"}))


def test_parts_that_an_older_version_computed_differently(tmp_path):
    path, theirs = str(tmp_path / "old"), random_state(configuration(), seed=1)
    older.save(tmp_path / "old", configuration(), theirs, schema=1)
    with pytest.raises(UserError, match=r"the decoder has changed .*init_parts=encoder,heads$"):
        take(path, configuration())
    _, state, _, _ = take(path, configuration(), "encoder,heads")
    assert_same(state.params["heads"], theirs.params["heads"])
    take(path, configuration(ASR))  # this task has no decoder
    with pytest.raises(UserError, match=r"older version, and the decoder has changed"):
        reader.open(path).arrays("ema/decoder")
    path, _ = save(tmp_path / "new", configuration())
    edit_meta(path, lambda meta: meta.update(schema=compatibility.SCHEMA + 1))
    with pytest.raises(UserError, match="use the version that wrote it"):
        take(path, configuration())


def test_an_incomplete_part_is_an_error(tmp_path):
    config = configuration()
    state = random_state(config, seed=1)
    parts = {field: jax.device_get(getattr(state, field)) for field in transfer.FIELDS}
    del parts["params"]["encoder"]["project"]["bias"]
    store.save_parts(str(tmp_path), parts, config, step=7)
    with pytest.raises(UserError, match=r"has params/encoder, but no params/encoder/project/bias"):
        take(str(tmp_path), config)
