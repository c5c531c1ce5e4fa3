"""Checkpoints that are damaged, incomplete, or cannot be written."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.conftest import limited_files
from uniwav_jax import config as config_lib
from uniwav_jax.checkpoint import reader, store
from uniwav_jax.errors import UserError
from uniwav_jax.types import TrainState

CONFIG = config_lib.from_dict(config_lib.default_config("tiny"))
PARTS = ("step", "params", "opt_state", "ema", "state", "frozen", "skipped")


def state_at(step):
    keys = jax.random.split(jax.random.key(step), 4)
    params = {"kernel": jax.random.normal(keys[0], (64, 100)), "bias": jnp.zeros(3)}
    return TrainState(
        step=jnp.array(step),
        params=params,
        opt_state=optax.adamw(1e-3).init(params),
        ema={"kernel": jax.random.normal(keys[1], (64, 100))},
        state={"codebooks": {"sums": jax.random.normal(keys[2], (2, 8, 4))}},
        frozen={"mean": jnp.arange(4, dtype=jnp.bfloat16)},
        skipped=jnp.zeros(2, jnp.int32),
    )


def save(folder, *steps):
    checkpoints = store.manager(folder, CONFIG)
    for step in steps:
        store.save(checkpoints, state_at(step), CONFIG, {})
    store.close(checkpoints)


def restore(folder):
    """The state from which a run in `folder` would continue."""
    checkpoints = store.manager(folder, CONFIG)
    abstract = jax.eval_shape(lambda: state_at(0))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state_at(0))
    state, _ = store.restore(checkpoints, abstract, shardings, CONFIG)
    store.close(checkpoints)
    return state


def assert_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 5, 10)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return pathlib.Path(shutil.copytree(saved, tmp_path / "run"))


def largest(folder, pattern):
    return max(folder.glob(pattern), key=lambda file: file.stat().st_size)


def damage(file, how):
    content = file.read_bytes()
    if how == "deleted":
        file.unlink()
    elif how == "half":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(random.Random(0).randbytes(len(content)))


@pytest.mark.parametrize("how", ["half", "garbled", "deleted"])
@pytest.mark.parametrize(
    "file",
    ["state/d/*", "state/manifest.ocdbt", "state/_METADATA", "meta/metadata", "state/ocdbt*/d/*"],
)
def test_damaged_file_is_named_and_the_advice_helps(copy, file, how):
    folder = copy / "checkpoints" / "10"
    damage(largest(folder, file), how)
    try:
        state = restore(copy)
    except UserError as error:
        message = str(error)
        assert str(folder) in message and "\n" not in message
        assert "delete that folder to continue from step 5" in message
        shutil.rmtree(folder)
        assert_same(restore(copy), state_at(5))
    else:
        assert file == "state/ocdbt*/d/*" and how == "half"  # that half was not used
        assert_same(state, state_at(10))


@pytest.mark.parametrize("file", ["commit_success.txt", "_CHECKPOINT_METADATA", "state/_sharding"])
def test_files_that_are_not_needed(copy, file):
    (copy / "checkpoints" / "10" / file).unlink()
    assert_same(restore(copy), state_at(10))


def test_only_checkpoint(saved, tmp_path):
    shutil.copytree(saved / "checkpoints" / "10", tmp_path / "checkpoints" / "10")
    (tmp_path / "checkpoints" / "10" / "meta" / "metadata").unlink()
    with pytest.raises(UserError, match="delete that folder to begin again"):
        restore(tmp_path)


def test_flipped_bits_are_detected(copy):
    """Orbax's files have no checksums of the numbers; ours detect every bit that changes one."""
    folder = copy / "checkpoints" / "10"
    whole = reader.open(folder).arrays(*PARTS)
    assert_same(whole["params"], state_at(10).params)
    file = largest(folder, "state/ocdbt*/d/*")
    dice, content, found = random.Random(0), file.read_bytes(), []
    for _ in range(30):
        place = dice.randrange(len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        try:
            state = reader.open(folder).arrays(*PARTS)
        except UserError as error:
            if "not what was saved" in str(error):
                found.append(damaged)
        else:
            assert_same(state, whole)
    assert len(found) > 5
    file.write_bytes(found[0])
    with pytest.raises(UserError, match=r"not what was saved: .*delete that folder to continue"):
        restore(copy)


def test_checkpoint_without_checksums_is_read(copy):
    """Older versions wrote checkpoints without checksums."""
    file = copy / "checkpoints" / "10" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    del meta["checksums"]
    file.write_text(json.dumps(meta))
    assert_same(restore(copy), state_at(10))


def test_failed_save_is_an_error_and_the_last_one_stays(tmp_path):
    save(tmp_path, 5)
    only_one = dataclasses.replace(CONFIG, checkpoint=config_lib.CheckpointConfig(keep=1))
    checkpoints = store.manager(tmp_path, only_one)
    with (
        limited_files(8192),
        pytest.raises(UserError, match="could not be written") as error,
    ):
        store.save(checkpoints, state_at(10), CONFIG, {})
        for _ in range(600):
            store.check(checkpoints)
            time.sleep(0.1)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    store.close(checkpoints)
    assert_same(restore(tmp_path), state_at(5))


def test_remains_of_a_killed_save_are_removed(copy):
    left = copy / "checkpoints" / "15.orbax-checkpoint-tmp"
    os.rename(copy / "checkpoints" / "10", left)
    assert_same(restore(copy), state_at(5))
    save(copy, 20)
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["20", "5"]
