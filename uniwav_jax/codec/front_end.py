"""The waveform front end of wav2vec 2.0, DinoSR and SpidR, for encoders that were trained on it.

    waveform [B, S, 1] -> (convolution without padding, LayerNorm, GELU) for each rate
        -> frames [B, ceil(S / hop), C]

Frame i reads 400 samples from i * hop on. Here the clip is followed by silence, so that the last
one or two frames exist; the original models leave them out.
"""

import functools

import jax

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import FrontEndConfig

gelu = functools.partial(jax.nn.gelu, approximate=False)


def encoder(c: FrontEndConfig) -> list[layers.Layer]:
    """The encoder's chain."""
    chain: list[layers.Layer] = []
    for kernel, stride in zip(c.kernels, c.strides, strict=True):
        convolution = layers.Convolution(c.dimension, kernel, stride=stride, ahead=True)
        chain += [convolution, layers.ChannelNorm(), gelu]
    return chain


def decoder(c: FrontEndConfig) -> list[layers.Layer]:
    """An empty chain, because there is no decoder."""
    del c
    return []
