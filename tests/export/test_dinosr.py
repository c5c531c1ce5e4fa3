"""Encoders of DinoSR and SpidR, read name by name; tests/oracles compares their numbers."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.export.dinosr_states import CHANNELS, FFN, WIDTH, as_fairseq, random_state
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError
from uniwav_jax.export import dinosr
from uniwav_jax.models import uniwav


@pytest.fixture(scope="module")
def state():
    return random_state()


def convert(state, network="student", heads=4, gain=1.0):
    return dinosr.convert(state, network=network, heads=heads, gain=gain)


def test_the_arrays_are_those_of_our_modules(state):
    config, arrays, structure = convert(state)
    c = config.model.encoder
    assert (c.layers, c.width, c.heads, c.ffn, c.norm) == (3, WIDTH, 4, FFN, "post")
    assert (c.position_convolutions, c.position_kernel, c.position_groups) == (2, 5, 4)
    x, mask = np.zeros((1, 4, CHANNELS), np.float32), np.ones((1, 4), bool)
    module = uniwav.encoder_module(config)
    wanted = jax.eval_shape(module.init, jax.random.key(0), x, mask)["params"]
    encoder = arrays["params"]["encoder"]
    assert jax.tree.map(np.shape, encoder) == jax.tree.map(lambda leaf: leaf.shape, wanted)
    assert config.features.hop == structure.hop == 320 and config.features.kind == "codec"
    front = arrays["frozen"]["features"]["network"]
    assert jax.tree.map(np.shape, front) == files.shapes(structure)["network"]


def test_every_number_is_in_its_place(state):
    encoder = convert(state).arrays["params"]["encoder"]
    layer = jax.tree.map(lambda a: a[1], encoder["layers"])
    at = "student.layers.1"
    np.testing.assert_array_equal(
        layer["attention"]["qkv_kernel"].reshape(WIDTH, 3 * WIDTH).T,
        state[f"{at}.attention.qkv.weight"],
    )
    assert not layer["attention"]["qkv_bias"].any()
    out = layer["attention"]["out"]["kernel"].reshape(WIDTH, WIDTH)
    np.testing.assert_array_equal(out.T, state[f"{at}.attention.proj.weight"])
    for ours, theirs in (
        (layer["norm_attention"]["scale"], f"{at}.layer_norm.weight"),
        (layer["norm_feed_forward"]["bias"], f"{at}.final_layer_norm.bias"),
        (layer["up"]["kernel"].T, f"{at}.feed_forward.intermediate_dense.weight"),
        (layer["down"]["kernel"].T, f"{at}.feed_forward.output_dense.weight"),
        (encoder["mask_vector"], "mask_embedding"),
        (encoder["norm_input"]["scale"], "feature_projection.layer_norm.weight"),
        (encoder["norm_embedding"]["scale"], "student.layer_norm.weight"),
        (
            encoder["positions"]["kernel_1"].transpose(2, 1, 0),
            "student.pos_conv_embed.convs.1.weight",
        ),
    ):
        np.testing.assert_array_equal(ours, state[theirs], err_msg=theirs)
    teacher = convert(state, network="teacher").arrays["params"]["encoder"]
    up = teacher["layers"]["up"]["bias"][2]
    np.testing.assert_array_equal(
        up, state["teacher.layers.2.feed_forward.intermediate_dense.bias"]
    )


def test_fairseqs_names_give_the_same(state):
    renamed = as_fairseq(state)
    average = {f"_ema.{name}": value for name, value in renamed.pop("_ema").items()}
    for network in dinosr.NETWORKS:
        config, arrays, _ = convert({**renamed, **average}, network=network)
        other = convert(state, network=network)
        assert config == other.config
        jax.tree.map(np.testing.assert_array_equal, arrays, other.arrays)


def test_the_gain_multiplies_the_waveform(state):
    """That is, the first convolution, whose bias stays."""
    once, twice = (convert(state, gain=gain).arrays["frozen"]["features"] for gain in (1.0, 2.0))
    first = once["network"]["encoder_0"]["kernel"]
    np.testing.assert_array_equal(twice["network"]["encoder_0"]["kernel"], 2 * first)
    twice["network"]["encoder_0"]["kernel"] = first
    jax.tree.map(np.testing.assert_array_equal, twice, once)


def test_what_is_no_encoder_is_named(state):
    def without(beginning):
        return {name: value for name, value in state.items() if not name.startswith(beginning)}

    for changed, message in (
        ({}, "there is no feature_extractor"),
        (without("mask_embedding"), "tensor mask_embedding is missing"),
        ({**state, "extra": np.zeros(1)}, r"tensor extra does not belong .* \(1 unexpected"),
        ({**state, "mask_embedding": np.zeros(3)}, r"mask_embedding is \(3,\), expected \(16,\)"),
        (without("student.layers"), "there is no student with layers and positions"),
    ):
        with pytest.raises(UserError, match=message):
            convert(changed)
    with pytest.raises(UserError, match="5 heads do not divide the width 16; set --heads"):
        convert(state, heads=5)
    with pytest.raises(UserError, match="0 heads"):  # less than one of 64 channels
        convert(state, heads=None)


def test_files_are_named(state, tmp_path):
    path = str(tmp_path / "model.safetensors")
    safetensors.numpy.save_file(state, path)
    ours = dinosr.load(path, heads=4, gain=1.0).arrays
    jax.tree.map(np.testing.assert_array_equal, ours, convert(state).arrays)
    with pytest.raises(UserError, match=f"{path}: 3 heads"):
        dinosr.load(path, heads=3)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    pytest.importorskip("torch", reason="reads its format")
    path = tmp_path / "harm.pt"
    path.write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    with pytest.raises(UserError, match=r"harm\.pt.*cannot be read as plain tensors"):
        dinosr.load(str(path))
