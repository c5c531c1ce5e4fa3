"""Both ends of an MDCT codec in PyTorch; test_uniwav_features compares whole codecs."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from uniwav_jax.codec import mdct
from uniwav_jax.codec.config import MdctConfig
from uniwav_jax.export import codec_chains
from uniwav_jax.export.torch import uniwav_mdct


@pytest.mark.parametrize("quadrature", [0, 7, 20])
def test_constants_and_both_ends_are_ours(quadrature, clip):
    config = MdctConfig(shape=20, free=3, quadrature=quadrature)
    analysis = uniwav_mdct.Analysis(codec_chains.describe(config, "encoder")[0], 1)
    synthesis = uniwav_mdct.Synthesis(codec_chains.describe(config, "decoder")[1], 1)
    average, spread = mdct.bands(320, 18)
    for ours, theirs in (
        (mdct.basis(320), analysis.constants["basis"]),
        (average, analysis.constants["average"]),
        (spread, synthesis.constants["spread"]),
        (mdct.cosine(18), synthesis.constants["cosine"]),
    ):
        np.testing.assert_allclose(theirs, ours, atol=2e-6)
    assert not analysis.state_dict() and not synthesis.state_dict()
    audio = clip[None, 8000:9000]
    z = analysis(torch.tensor(audio)[:, None])
    np.testing.assert_allclose(z.mT, mdct.Analysis(config)(audio[..., None]), atol=2e-4)
    random = np.random.default_rng(0).normal(size=(1, 4, config.dimension)).astype(np.float32)
    more = 0.1 * np.ones((1, 4, mdct.corrections(config)), np.float32)
    both = np.concatenate([random, more], -1)
    wave = synthesis(torch.tensor(both).mT)
    expected = np.asarray(mdct.Synthesis(config)(both))
    np.testing.assert_allclose(wave.mT, expected, atol=1e-5 * np.abs(expected).max())
