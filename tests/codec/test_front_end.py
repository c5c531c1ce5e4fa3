"""The front end of wav2vec 2.0: which samples each frame reads."""

import functools

import jax
import numpy as np

from uniwav_jax.codec.config import FrontEndConfig
from uniwav_jax.codec.network import Codec, chain

CONFIG = FrontEndConfig(dimension=4)


def test_a_frame_reads_the_400_samples_from_its_start():
    audio = np.random.default_rng(0).normal(size=(1, 1600)).astype(np.float32)
    model = Codec(CONFIG)
    variables = jax.jit(functools.partial(model.init, method="encode"))(jax.random.key(0), audio)
    encode = jax.jit(functools.partial(model.apply, variables, method="encode"))
    before = np.asarray(encode(audio))
    for sample, frames in ((0, {0}), (319, {0}), (320, {0, 1}), (399, {0, 1}), (400, {1})):
        other = audio.copy()
        other[0, sample] += 10.0
        changed = np.abs(np.asarray(encode(other)) - before).max((0, 2)) > 0
        assert set(np.flatnonzero(changed)) == frames


def test_there_is_no_decoder():
    assert chain(CONFIG, "decoder") == []
