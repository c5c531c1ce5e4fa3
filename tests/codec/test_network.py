"""Lengths of latents and waveforms, for every structure."""

import jax
import jax.numpy as jnp
import pytest

from uniwav_jax.codec.config import FrontEndConfig, LyraConfig, MdctConfig, SEANetConfig
from uniwav_jax.codec.network import Codec, chain

STRUCTURES = {
    "seanet": SEANetConfig(filters=2, dimension=4),
    "causal": SEANetConfig(filters=2, dimension=4, causal=True),
    "lyra": LyraConfig(),
    "mdct": MdctConfig(width=8, inner=8),
    "front end": FrontEndConfig(dimension=4),
}


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5000])
@pytest.mark.parametrize("name", STRUCTURES)
def test_frames_are_samples_over_hop_rounded_up(name, samples):
    config = STRUCTURES[name]
    model = Codec(config)

    def both(key, audio):
        variables = model.init(key, audio)
        z = model.apply(variables, audio, method="encode")
        return z, model.apply(variables, z, method="decode")

    z, audio = jax.eval_shape(both, jax.random.key(0), jnp.zeros((3, samples)))
    frames = -(-samples // 320)
    assert z.shape == (3, frames, config.dimension)
    if chain(config, "decoder"):
        assert audio.shape == (3, frames * 320)
