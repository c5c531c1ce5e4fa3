"""SEANet, EnCodec's encoder and decoder (arXiv 2210.13438, section 3.1).

    waveform [B, S, 1] -> convolution
        -> per rate: residual units, ELU, strided convolution (kernel 2r, stride r, twice the width)
        -> LSTM with skip -> ELU -> convolution -> latents [B, ceil(S / hop), C]

and the decoder in mirror image with transposed convolutions. The chains are numbered as in
EnCodec's state dicts, activations included, which makes import a matter of names. Weights are
plain: weight norm is folded by the importer.
"""

import dataclasses
import functools
import math

import jax
from flax import linen as nn

from uniwav_jax.codec import layers
from uniwav_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SEANetConfig:
    """Structure of a codec; the defaults are EnCodec's, but at 16 kHz and 50 frames a second."""

    sample_rate: int = 16000
    dimension: int = 128  # latent channels
    filters: int = 32  # channels at the waveform's rate; doubled by each downsampling
    residual_layers: int = 1  # units per rate
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # upsampling in the decoder's order
    kernel: int = 7  # of the first convolution
    last_kernel: int = 7
    residual_kernel: int = 3
    dilation_base: int = 2  # unit j of a rate has dilation base ** j
    compress: int = 2  # hidden channels of a unit: its width / compress
    lstm: int = 2  # layers; 0: none
    causal: bool = False
    padding: str = "reflect"  # or "constant" (zeros)
    true_skip: bool = False  # units add their input itself, not a 1x1 convolution of it
    trim_right: float = 1.0  # share of a causal transposed convolution's surplus cut on the right
    codebooks: int = 0  # quantiser stages; 0: continuous latents only
    codewords: int = 1024  # per stage

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.ratios)

    def validate(self) -> None:
        """Check the values against each other.

        Raises:
            UserError: naming the field.
        """

        def require(condition: bool, message: str) -> None:
            if not condition:
                raise UserError(f"codec: {message}")

        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and field.name not in ("lstm", "codebooks", "residual_layers"):
                require(value > 0, f"{field.name} must be positive; got {value}")
        for name in ("lstm", "codebooks", "residual_layers"):
            require(getattr(self, name) >= 0, f"{name} must not be negative")
        require(
            bool(self.ratios) and all(ratio > 1 for ratio in self.ratios),
            f"ratios must be factors above 1; got {self.ratios}",
        )
        require(
            self.padding in ("reflect", "constant"),
            f"padding must be reflect or constant; got {self.padding!r}",
        )
        for name in ("kernel", "last_kernel", "residual_kernel"):
            require(getattr(self, name) % 2 == 1, f"{name} must be odd")
        require(self.filters % self.compress == 0, "compress must divide filters")
        require(0 <= self.trim_right <= 1, "trim_right must lie between 0 and 1")
        require(self.causal or self.trim_right == 1, "trim_right below 1 is for causal codecs only")


class ResidualUnit(nn.Module):
    """skip(x) + convolution(ELU(convolution(ELU(x)))), narrow in the middle."""

    config: SEANetConfig
    width: int
    dilation: int

    def setup(self) -> None:
        c, convolution = self.config, _convolution(self.config)
        self.block = [
            nn.elu,
            convolution(self.width // c.compress, c.residual_kernel, dilation=self.dilation),
            nn.elu,
            convolution(self.width, 1),
        ]
        if not c.true_skip:
            self.shortcut = convolution(self.width, 1)

    @property
    def padding(self) -> tuple[int, int]:
        """As of `layers.Convolution`."""
        c = self.config
        widest = _convolution(c)(1, c.residual_kernel, dilation=self.dilation, parent=None)
        return widest.padding

    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, width] -> the same shape."""
        h = layers.run(self.block, x_BxTxC)
        return h + (x_BxTxC if self.config.true_skip else self.shortcut(x_BxTxC))


def encoder(c: SEANetConfig) -> list[layers.Layer]:
    """The encoder's chain, in the order and numbering of EnCodec's."""
    convolution, width = _convolution(c), c.filters
    chain: list[layers.Layer] = [convolution(width, c.kernel)]
    for ratio in reversed(c.ratios):
        chain += [ResidualUnit(c, width, c.dilation_base**j) for j in range(c.residual_layers)]
        width *= 2
        chain += [nn.elu, convolution(width, 2 * ratio, stride=ratio)]
    chain += [layers.Lstm(c.lstm)] * bool(c.lstm)
    return [*chain, nn.elu, convolution(c.dimension, c.last_kernel)]


def decoder(c: SEANetConfig) -> list[layers.Layer]:
    """The decoder's chain, in the order and numbering of EnCodec's."""
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
