"""SEANet, EnCodec's encoder and decoder (arXiv 2210.13438, section 3.1).

    waveform [B, S, 1] -> convolution
        -> per rate: residual units, ELU, strided convolution (kernel 2r, stride r, twice the width)
        -> LSTM with skip -> ELU -> convolution -> latents [B, ceil(S / hop), C]

The decoder has the same stages in reverse order, with transposed convolutions. Layers are numbered
as in EnCodec's state dicts, activations included, so that weights can be imported by their names.
There is no weight norm, because the importer folds it into the weights.
"""

import functools

import jax
from flax import linen as nn

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import SEANetConfig


class ResidualUnit(nn.Module):
    """skip(x) + convolution(ELU(convolution(ELU(x)))), with fewer channels in the middle."""

    config: SEANetConfig
    width: int  # channels
    dilation: int  # dilation of the inner convolution

    def setup(self) -> None:
        self.block, shortcut = unit(self.config, self.width, self.dilation)
        if shortcut is not None:
            self.shortcut = shortcut

    @property
    def padding(self) -> tuple[int, int]:
        """Steps of padding before and after the input."""
        c = self.config
        widest = _convolution(c)(1, c.residual_kernel, dilation=self.dilation, parent=None)
        return widest.padding

    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, width] -> the same shape."""
        h = layers.run(self.block, x_BxTxC)
        return h + (x_BxTxC if self.config.true_skip else self.shortcut(x_BxTxC))


def unit(
    c: SEANetConfig, width: int, dilation: int
) -> tuple[list[layers.Layer], layers.Convolution | None]:
    """The layers inside a `ResidualUnit`, and its shortcut (None: the unchanged input)."""
    convolution = _convolution(c)
    narrow = convolution(width // c.compress, c.residual_kernel, dilation=dilation)
    shortcut = None if c.true_skip else convolution(width, 1)
    return [nn.elu, narrow, nn.elu, convolution(width, 1)], shortcut


def encoder(c: SEANetConfig) -> list[layers.Layer]:
    """The layers of the encoder, in EnCodec's order."""
    convolution, width = _convolution(c), c.filters
    chain: list[layers.Layer] = [convolution(width, c.kernel)]
    for ratio in reversed(c.ratios):
        chain += [ResidualUnit(c, width, c.dilation_base**j) for j in range(c.residual_layers)]
        width *= 2
        chain += [nn.elu, convolution(width, 2 * ratio, stride=ratio)]
    chain += [layers.Lstm(c.lstm)] * bool(c.lstm)
    return [*chain, nn.elu, convolution(c.dimension, c.last_kernel)]


def decoder(c: SEANetConfig) -> list[layers.Layer]:
    """The layers of the decoder, in EnCodec's order."""
    convolution, width = _convolution(c), c.filters * 2 ** len(c.ratios)
    chain: list[layers.Layer] = [convolution(width, c.kernel)]
    chain += [layers.Lstm(c.lstm)] * bool(c.lstm)
    for ratio in c.ratios:
        width //= 2
        upsampling = layers.Upsampling(
            width, ratio, 2 * ratio, causal=c.causal, trim_right=c.trim_right
        )
        chain += [nn.elu, upsampling]
        chain += [ResidualUnit(c, width, c.dilation_base**j) for j in range(c.residual_layers)]
    return [*chain, nn.elu, convolution(1, c.last_kernel)]


def _convolution(c: SEANetConfig) -> functools.partial:
    return functools.partial(layers.Convolution, causal=c.causal, mode=c.padding)
