"""Reading a step: chosen once, without the codec's folder, and from older versions."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoint import older
from tests.checkpoint.test_transfer import random_state
from tests.codec.random_codec import random_codec
from tests.train.small import ASR, CODEC, configuration
from uniwav_jax import features as features_lib
from uniwav_jax.checkpoint import reader, store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError
from uniwav_jax.export import write


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(ours), jax.device_get(theirs))


@pytest.mark.parametrize(
    "changes",
    [{}, ASR, {**ASR, "asr.frozen": True}, CODEC],
    ids=["pretrain", "asr", "frozen", "codec"],
)
def test_checkpoints_of_schema_2_resume_and_are_read(changes, tmp_path):
    """Every array has its new path, including those of the optimizer."""
    config = configuration(changes)
    state = random_state(config, seed=1)
    state = state.replace(step=jnp.array(7))
    frozen = bool(changes.get("asr.frozen"))
    opt_state = older.optimizer(config, frozen).init(state.params)
    opt_state = jax.tree.map(lambda a: jnp.full(a.shape, 3, a.dtype), opt_state)
    older.save(tmp_path, config, state, opt_state)

    checkpoint = reader.open(tmp_path)
    assert checkpoint.config.text == config.text
    if changes is CODEC:  # then a codec's running average was configured with the decoder's field
        assert checkpoint.config.codec.ema_decay == 0.75
    places = ("params", "ema", "state", "frozen")
    arrays = checkpoint.arrays(*places)
    for place in places:
        assert_same(arrays.get(place, {}), getattr(state, place))

    now = dataclasses.replace(
        config,
        flow=dataclasses.replace(config.flow, ema_decay=0.75),
        codec=dataclasses.replace(config.codec, ema_decay=0.75)
        if changes is CODEC
        else config.codec,
    )
    abstract = jax.eval_shape(lambda: state)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    with store.manager(tmp_path, now) as checkpoints:
        found, _ = store.restore(checkpoints, abstract, shardings, now)
    for place in places:
        assert_same(getattr(found, place), getattr(state, place))
    assert int(found.step) == 7
    moments = [leaf for leaf in jax.tree.leaves(found.opt_state) if leaf.ndim]
    assert moments and all((np.asarray(leaf) == 3).all() for leaf in moments)
    if frozen:
        assert len(moments) == 2 * len(jax.tree.leaves(state.params["ctc"]))


def test_another_number_of_symbols_in_an_old_checkpoint_is_an_error(tmp_path):
    config = configuration(ASR)
    state = random_state(config, seed=1)
    older.save(tmp_path, config, state)
    other = configuration({**ASR, "text.symbols": tuple("cab|")})
    with (
        store.manager(tmp_path, other) as checkpoints,
        pytest.raises(UserError, match=r"another config\.text\.symbols"),
    ):
        store.restore(checkpoints, state, None, other)


@pytest.fixture
def on_latents(tmp_path):
    """A checkpoint on latents of a codec whose folder was deleted."""
    structure = SEANetConfig(filters=4, dimension=8, lstm=0)
    folder = tmp_path / "codec"
    files.save(str(folder), structure, random_codec(structure), info={})
    config = configuration({"features.kind": "codec", "features.codec": str(folder)})
    state = jax.device_get(random_state(config, seed=1))
    parts = {name: getattr(state, name) for name in ("params", "ema", "state", "frozen")}
    described = features_lib.build(config.features).described
    store.save_parts(str(tmp_path / "run"), parts, config, step=7, codec=described)
    shutil.rmtree(folder)
    return tmp_path / "run"


def test_a_codecs_folder_may_be_deleted(on_latents, tmp_path):
    """The metadata has the codec's structure and the arrays its weights: it encodes and exports."""
    checkpoint = reader.open(on_latents)
    features = checkpoint.features()
    weights = checkpoint.arrays("frozen/features")["frozen"]["features"]
    audio = np.zeros((1, sum(features.context) + 3200), np.float32)
    assert features.encode(weights, audio).shape == (1, 10, 8)
    write.export(str(on_latents), str(tmp_path / "export"))
    assert (tmp_path / "export" / "model.safetensors").exists()


def test_the_step_is_chosen_once(tmp_path, monkeypatch):
    """A run saves a new step during an export: card, config and weights are of one step."""
    config = configuration()
    save = store.save_parts

    def save_step(step):
        state = jax.device_get(random_state(config, seed=step))
        parts = {name: getattr(state, name) for name in ("params", "ema", "state", "frozen")}
        save(str(tmp_path / f"run{step}"), parts, config, step=step)
        source = tmp_path / f"run{step}" / "checkpoints" / str(step)
        shutil.copytree(source, tmp_path / "run" / "checkpoints" / str(step))
        return state

    first = save_step(3)
    arrays = reader.Checkpoint.arrays

    def save_meanwhile(checkpoint, *places):
        if not (tmp_path / "run" / "checkpoints" / "9").exists():
            save_step(9)
        return arrays(checkpoint, *places)

    monkeypatch.setattr(reader.Checkpoint, "arrays", save_meanwhile)
    write.export(str(tmp_path / "run"), str(tmp_path / "export"))
    document = json.loads((tmp_path / "export" / "config.json").read_text())
    assert document["uniwav"]["step"] == 3
    assert "| updates | 3 |" in (tmp_path / "export" / "README.md").read_text()

    tensors = safetensors.numpy.load_file(tmp_path / "export" / "model.safetensors")
    kernel = first.params["encoder"]["project"]["kernel"]
    np.testing.assert_array_equal(tensors["encoder.project.weight"], kernel.T)
    assert reader.open(tmp_path / "run").step == 9
