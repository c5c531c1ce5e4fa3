"""A codec that runs on pieces of a clip gives the same result as on the whole, ends included."""

import jax
import numpy as np
import pytest

from tests.codec.random_codec import random_codec
from uniwav_jax.codec import chunked
from uniwav_jax.codec.config import LyraConfig, MdctConfig, SEANetConfig
from uniwav_jax.codec.network import Codec

SMALL = {"filters": 4, "dimension": 8}
CODECS = {
    "encodec": SEANetConfig(**SMALL),
    "causal": SEANetConfig(**SMALL, causal=True, padding="constant", trim_right=0.5),
    "deep": SEANetConfig(**SMALL, true_skip=True, residual_layers=3, ratios=(5, 4, 3), lstm=0),
    "lyra": LyraConfig(codebooks=0),
    "mdct": MdctConfig(width=16, inner=24, encoder_blocks=2, decoder_blocks=2),
}


@pytest.mark.parametrize("name", CODECS)
def test_chunks_equal_the_whole(clip, name):
    config, rng = CODECS[name], np.random.default_rng(0)
    model = Codec(config)
    params = random_codec(config)["network"]
    apply = jax.jit(model.apply, static_argnames="method")
    for samples in (40077, 24000, 300):
        audio = clip[:samples]
        z = np.asarray(apply({"params": params}, audio[None], method="encode")[0])
        y = np.asarray(apply({"params": params}, z[None], method="decode")[0])
        assert z.shape == (-(-samples // config.hop), config.dimension)
        assert y.shape == (len(z) * config.hop,)
        cuts = np.split(audio, np.sort(rng.integers(0, samples, 5)))
        blocks = list(chunked.encode(config, params, cuts, seconds=0.5))
        sound = list(chunked.decode(config, params, blocks, seconds=0.5))
        assert samples < 24000 or len(blocks) > 1
        assert np.abs(np.concatenate(blocks) - z).max() < 1e-5 * np.abs(z).max()
        assert np.abs(np.concatenate(sound) - y).max() < 1e-5 * np.abs(y).max()


def test_memory_is_bounded():
    """Only about one window is in memory, however long the stream is."""
    lengths = []

    def run(window):
        lengths.append(window.shape[1])
        return window[:, ::4]

    blocks = (np.full((1000, 1), float(i), np.float32) for i in range(400))
    out = chunked.overlapped(blocks, run, window=2000, left=40, right=9, up=1, down=4)
    total = np.concatenate(list(out))
    np.testing.assert_array_equal(total[:, 0], np.repeat(np.arange(400), 250))
    assert max(lengths) <= 2000 + 40 + 9 + 2 * 4
