"""The structure of a codec as plain values, so that a configuration imports no network."""

import dataclasses
import math
from typing import ClassVar

from uniwav_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SEANetConfig:
    """A codec like EnCodec; the defaults are EnCodec's, but at 16 kHz and 50 frames per second."""

    sample_rate: int = 16000  # Hz
    dimension: int = 128  # latent channels
    filters: int = 32  # channels at the waveform's rate; each downsampling doubles them
    residual_layers: int = 1  # residual units per rate
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # upsampling factors in the decoder's order
    kernel: int = 7  # steps, in the first convolution
    last_kernel: int = 7  # steps, in the last convolution
    residual_kernel: int = 3  # steps, in the first convolution of a residual unit
    dilation_base: int = 2  # residual unit j of a rate has dilation base ** j
    compress: int = 2  # a residual unit of width w has w / compress channels inside
    lstm: int = 2  # number of LSTM layers; 0: no LSTM
    causal: bool = False
    padding: str = "reflect"  # or "constant" (zeros)
    true_skip: bool = False  # residual units add their input itself, not a 1x1 convolution of it
    trim_right: float = 1.0  # share of a causal transposed convolution's extra steps cut at the end
    codebooks: int = 0  # number of quantiser stages; 0: continuous latents only
    codewords: int = 1024  # number of codewords per stage

    scale: ClassVar[tuple[float, ...]] = (1.0,)  # as in MdctConfig

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.ratios)

    def validate(self) -> None:
        """Check the values against each other.

        Raises:
            UserError: a value is wrong; names the field.
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


@dataclasses.dataclass(frozen=True)
class LyraConfig:
    """Lyra's codec; its structure is fixed, except that the quantiser can be left out."""

    codebooks: int = 46  # number of stages, 9.2 kbit/s in all; 0: continuous latents only
    codewords: int = 16  # number of codewords per stage

    sample_rate: ClassVar[int] = 16000
    dimension: ClassVar[int] = 64
    strides: ClassVar[tuple[int, ...]] = (16, 5, 2, 2)
    kernels: ClassVar[tuple[int, ...]] = (64, 10, 4, 4)
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    groups: ClassVar[tuple[int, ...]] = (1, 1, 2, 4)
    scale: ClassVar[tuple[float, ...]] = (1.0,)  # as in MdctConfig

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.strides)

    def validate(self) -> None:
        """Accept all values."""


@dataclasses.dataclass(frozen=True)
class MdctConfig:
    """A codec at frame rate around an analytic skip path (codec/mdct.py); all values are ours."""

    sample_rate: int = 16000  # Hz
    hop: int = 320  # samples per latent frame, and number of MDCT coefficients; even
    shape: int = 72  # number of the lowest MDCT coefficients whose shape the latents carry
    # Number of the lowest MDST coefficients whose shape they carry too. The decoder averages both
    # waveforms, which makes noise on the latents much quieter.
    quadrature: int = 28
    bands: int = 18  # number of bands whose gains the latents carry
    free: int = 10  # latent channels without a skip path
    companding: float = 1.0  # a in asinh(a * shape): larger values compress large coefficients
    fine_scale: float = 0.35  # standard deviation of normalised fine channels; of the others: 1
    width: int = 256  # channels of the networks
    inner: int = 768  # channels inside a block
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    kernel: int = 7  # frames, of the depthwise convolutions; odd
    compute_dtype: str = "float32"  # of the networks' activations and products; or "bfloat16"
    codebooks: int = 0  # number of quantiser stages; 0: continuous latents only
    codewords: int = 1024  # number of codewords per stage

    @property
    def dimension(self) -> int:
        """Latent channels."""
        return self.fine + self.bands + self.free

    @property
    def fine(self) -> int:
        """Channels that carry shapes."""
        return self.shape + self.quadrature

    @property
    def scale(self) -> tuple[float, ...]:
        """Standard deviation of each channel after normalisation."""
        return (self.fine_scale,) * self.fine + (1.0,) * (self.bands + self.free)

    def validate(self) -> None:
        """Check the values.

        Raises:
            UserError: a value is wrong; names the field.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                continue
            least = 0 if field.name in ("free", "codebooks", "shape", "quadrature") else 1e-9
            if value < least:
                raise UserError(f"codec: {field.name} must be positive; got {value}")
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"codec: compute_dtype must be float32 or bfloat16; got '{self.compute_dtype}'"
            )
        if self.hop % 2:
            raise UserError(f"codec: hop must be even; got {self.hop}")
        if self.kernel % 2 == 0:
            raise UserError(f"codec: kernel must be odd; got {self.kernel}")
        if not self.quadrature <= self.shape <= self.hop:
            raise UserError(
                f"codec: quadrature ({self.quadrature}) must be at most shape ({self.shape}), and"
                f" shape at most hop ({self.hop})"
            )
        if not 3 <= self.bands <= self.hop // 10:
            raise UserError(f"codec: bands must lie between 3 and hop / 10; got {self.bands}")


@dataclasses.dataclass(frozen=True)
class FrontEndConfig:
    """Convolutions over the waveform as in wav2vec 2.0: an encoder without a decoder."""

    dimension: int = 512  # channels
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)  # steps, per layer
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)  # steps, per layer
    sample_rate: int = 16000  # Hz
    codebooks: ClassVar[int] = 0
    scale: ClassVar[tuple[float, ...]] = (1.0,)  # as in MdctConfig

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    def validate(self) -> None:
        """Check that each layer has a kernel, and a stride that is not longer than the kernel.

        Raises:
            UserError: a kernel or stride is missing, or a stride is too long.
        """
        pairs = list(zip(self.kernels, self.strides, strict=False))
        if len(self.kernels) != len(self.strides) or any(k < s or s < 1 for k, s in pairs):
            raise UserError(f"front end: kernels {self.kernels} do not fit strides {self.strides}")


Structure = SEANetConfig | LyraConfig | MdctConfig | FrontEndConfig
STRUCTURES = {
    "seanet": SEANetConfig,
    "lyra": LyraConfig,
    "mdct": MdctConfig,
    "front_end": FrontEndConfig,
}
