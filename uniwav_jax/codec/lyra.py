"""Lyra's SoundStream (google/lyra, Apache-2.0): causal, 16 kHz, 50 frames per second, 64 channels.

    waveform [B, S, 1] -> convolution (kernel 64, stride 16)
        -> for each of the other three rates: three units, leaky ReLU, strided convolution
        -> leaky ReLU -> convolution -> latents [B, ceil(S / 320), 64]

The decoder has the same stages in reverse order. Wide layers are split into groups of 64 channels
or more.
"""

import functools

import jax
from flax import linen as nn

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import LyraConfig

DILATIONS = (1, 3, 9)  # dilations of the three units per rate

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.3)
Convolution = functools.partial(layers.Convolution, causal=True)


class SeparableUnit(nn.Module):
    """Residual unit: x + grouped(leaky(pointwise(depthwise(leaky(x)))))."""

    width: int  # channels
    dilation: int  # dilation of the depthwise convolution

    def setup(self) -> None:
        self.block = unit(self.width, self.dilation)

    @property
    def padding(self) -> tuple[int, int]:
        """Steps of padding before and after the input."""
        return 2 * self.dilation, 0

    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, width] -> the same shape."""
        return x_BxTxC + layers.run(self.block, x_BxTxC)


def unit(width: int, dilation: int) -> list[layers.Layer]:
    """The layers inside a `SeparableUnit`."""
    return [
        leaky_relu,
        Convolution(width, 3, dilation=dilation, groups=width),
        Convolution(width, 1),
        leaky_relu,
        Convolution(width, 1, groups=width // 64),
    ]


def encoder(c: LyraConfig) -> list[layers.Layer]:
    """The layers of the encoder."""
    chain: list[layers.Layer] = []
    rates = list(zip(c.widths, c.kernels, c.strides, c.groups, strict=True))
    for width, kernel, stride, groups in rates:
        chain += [Convolution(width, kernel, stride=stride, groups=groups)]
        if width < c.widths[-1]:
            chain += [SeparableUnit(width, dilation) for dilation in DILATIONS]
        chain += [leaky_relu]
    return [*chain, Convolution(c.dimension, 3, groups=4)]


def decoder(c: LyraConfig) -> list[layers.Layer]:
    """The layers of the decoder."""
    chain: list[layers.Layer] = [Convolution(c.widths[-1], 3, groups=4)]
    rates = list(zip((1, *c.widths[:-1]), c.kernels, c.strides, c.groups, strict=True))
    for width, kernel, stride, groups in reversed(rates):
        chain += [leaky_relu]
        chain += [layers.Upsampling(width, stride, kernel, groups=groups, causal=True)]
        if width > 1:
            chain += [SeparableUnit(width, dilation) for dilation in DILATIONS]
    return chain
