"""Names there and our paths are the same table both ways."""

import functools

import jax
import numpy as np
import pytest
from flax import traverse_util

from tests.export.conftest import CODECS
from uniwav_jax import config as config_lib
from uniwav_jax import tasks
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError
from uniwav_jax.export import codec_chains, names


def numbered(shapes):
    """Arrays of the shapes; all their numbers are different."""
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([np.prod(leaf.shape, dtype=int) for leaf in leaves])
    parts = np.split(np.arange(ends[-1], dtype=np.float32), ends[:-1])
    arrays = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, arrays)


@functools.cache
def params_of(task: str):
    """All parts of a task that may be exported."""
    values = config_lib.default_config("tiny")
    values.task = task
    values.asr.freeze_steps = values.evaluate.sample_every = 0
    values.asr.layers, values.text.symbols, values.tts.phones = "mix", ("a", "b"), ("AA", "B")
    values.model.encoder.update(width=32, heads=2, ffn=48)
    values.model.decoder.update(width=32, heads=2, ffn=48)
    config = config_lib.from_dict(values)
    key, init = jax.random.key(0), tasks.get(task).init
    params, state = jax.eval_shape(lambda: init(key, config, 80))
    books = {"codebooks": state["codebooks"]} if "codebooks" in state else {}
    one = jax.ShapeDtypeStruct((80,), np.float32)
    return numbered({**params, **books, "features": {"mean": one, "std": one}})


@pytest.mark.parametrize("task", ["pretrain", "asr", "tts"])
def test_there_and_back_changes_no_bit(task):
    params = params_of(task)
    tensors = names.to_torch(params)
    values = np.concatenate([tensor.ravel() for tensor in tensors.values()])
    assert np.array_equal(np.sort(values), np.arange(len(values)))  # each number has one place
    back = names.from_torch(tensors, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_too(codec):
    structure = CODECS[codec]
    params = numbered({"features": {"network": files.parameters(structure)["network"]}})
    rules = codec_chains.rules(structure)
    tensors = names.to_torch(params, rules)
    count = len(traverse_util.flatten_dict(params))
    assert len(tensors) == count == len(rules)
    jax.tree.map(np.testing.assert_array_equal, names.from_torch(tensors, params, rules), params)


def test_stacked_layers_are_named_one_by_one():
    params = params_of("pretrain")
    tensors = names.to_torch(params)
    up = params["encoder"]["layers"]["up"]["kernel"]
    assert len(up) == 4
    for layer, kernel in enumerate(up):
        np.testing.assert_array_equal(tensors[f"encoder.layers.{layer}.up.weight"], kernel.T)
    decoder = params["decoder"]
    np.testing.assert_array_equal(
        tensors["decoder.layers.1.merge.weight"], decoder["layers_out"]["merge"]["kernel"][0].T
    )
    qkv = params["encoder"]["layers"]["attention"]["qkv_kernel"][2]
    weight = tensors["encoder.layers.2.attention.qkv.weight"]
    np.testing.assert_array_equal(weight[32 + 16 : 2 * 32], qkv[:, 1, 1].T)  # key, second head


def test_a_linear_head_of_any_task_has_a_name():
    params = {"loudness": {"kernel": np.ones((4, 2)), "bias": np.ones(2)}}
    tensors = names.to_torch(params)
    assert tensors["linear.loudness.weight"].shape == (2, 4)
    assert tensors["linear.loudness.bias"].shape == (2,)


def test_what_has_no_place_is_named():
    with pytest.raises(UserError, match="parameter encoder/new has no name"):
        names.to_torch({"encoder": {"new": np.zeros(3)}})
    params = {"ctc": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}}
    tensors = names.to_torch(params)
    for changed, message in (
        ({"ctc.head.weight": tensors["ctc.head.weight"]}, "ctc.head.bias is missing"),
        (
            {**tensors, "z": np.zeros(1), "y": np.zeros(1)},
            r"tensor y does not belong .* \(2 unexpected",
        ),
        (
            {**tensors, "ctc.head.weight": np.zeros((4, 3))},
            r"ctc.head.weight is \(4, 3\), expected \(3, 4\)",
        ),
    ):
        with pytest.raises(UserError, match=message):
            names.from_torch(changed, params)
