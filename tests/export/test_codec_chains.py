"""A codec's description names the layers of its chains and where their weights belong."""

import json

import numpy as np
import pytest
from flax import linen as nn

from tests.export.conftest import CODECS
from uniwav_jax.codec import layers
from uniwav_jax.codec import network as network_lib
from uniwav_jax.codec.config import FrontEndConfig
from uniwav_jax.export import codec_chains

ALL = {**CODECS, "front end": FrontEndConfig(dimension=8)}


@pytest.mark.parametrize("name", ALL)
def test_each_layer_has_one_description_of_plain_values(name):
    for part in ("encoder", "decoder"):
        described = codec_chains.describe(ALL[name], part)
        assert len(described) == len(network_lib.chain(ALL[name], part))
        kinds = [layer["kind"] for layer in json.loads(json.dumps(described))]
        assert kinds == [layer["kind"] for layer in described]


def test_layers_are_described_as_they_are_computed():
    described = codec_chains.describe(CODECS["causal"], "encoder")
    first = {"kind": "convolution", "features": 4, "kernel": 7, "stride": 1, "dilation": 1}
    assert described[0] == first | {"groups": 1, "mode": "reflect", "padding": (6, 0)}
    unit = described[1]
    assert [layer["kind"] for layer in unit["block"]] == ["elu", "convolution"] * 2
    assert unit["shortcut"] is None  # true_skip
    assert codec_chains.describe(CODECS["seanet"], "encoder")[1]["shortcut"]["kernel"] == 1
    assert {"kind": "lstm", "layers": 2} in codec_chains.describe(CODECS["seanet"], "encoder")
    lyra = codec_chains.describe(CODECS["lyra"], "decoder")
    assert {"kind": "leaky_relu", "slope": 0.3} in lyra
    assert [c["groups"] for c in lyra if c["kind"] == "upsampling"] == [4, 2, 1, 1]


def test_grouped_transposed_convolutions_there_and_back():
    kernel = np.arange(6 * 2 * 8, dtype=np.float32).reshape(6, 2, 8)  # 4 groups
    up = layers.Upsampling(8, 3, 6, groups=4)
    (rule,) = [
        rule
        for rule in codec_chains._rules(codec_chains._layer(up), "ours", "theirs")
        if rule.path.endswith("kernel")
    ]
    weight = rule.there(kernel)
    assert weight.shape == (8, 2, 6)
    for source in range(8):  # channel `source` is input source % 2 of group source // 2
        for out in range(2):
            ours = kernel[:, source % 2, 2 * (source // 2) + out]
            np.testing.assert_array_equal(weight[source, out], ours)
    np.testing.assert_array_equal(rule.back(weight, kernel.shape), kernel)


def test_no_codec_has_no_rules_and_no_other_layer_is_known():
    assert codec_chains.rules(None) == []
    with pytest.raises(TypeError, match="is not a layer of a codec"):
        codec_chains._layer(nn.tanh)
