"""The waveform front end of wav2vec 2.0, DinoSR and SpidR, for encoders that were trained on it.

    waveform [B, S, 1] -> per layer: convolution without padding, LayerNorm, GELU
        -> frames [B, ceil(S / hop), C]

Frame i reads 400 samples from sample i * hop on. Here silence follows the clip, so that there are
ceil(S / hop) frames; the original models leave out the last one or two of them.
"""

import functools

import jax

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import FrontEndConfig

gelu = functools.partial(jax.nn.gelu, approximate=False)


def encoder(c: FrontEndConfig) -> list[layers.Layer]:
    """The layers of the encoder."""
    chain: list[layers.Layer] = []
    for kernel, stride in zip(c.kernels, c.strides, strict=True):
        convolution = layers.Convolution(c.dimension, kernel, stride=stride, ahead=True)
        chain += [convolution, layers.ChannelNorm(), gelu]
    return chain


def decoder(c: FrontEndConfig) -> list[layers.Layer]:
    """An empty list, because there is no decoder."""
    del c
    return []
