"""Multi-scale STFT discriminator for codec training (EnCodec, arXiv 2210.13438, section 3.4).

    waveform [B, S] -> complex STFT, real and imaginary part as channels [B, T, F, 2]
        -> convolutions over time and frequency, leaky ReLU after each (the feature maps)
        -> logits [B, T, F / 8]

There is one such network per window length, with its own parameters. All arrays are float32.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from uniwav_jax.audio import stft

DILATIONS = (1, 2, 4)  # dilations over time; EnCodec
SLOPE = 0.2  # slope of the leaky ReLU; EnCodec


def complex_stft(audio_BxS: jax.Array, window: int) -> jax.Array:
    """Real and imaginary part, float32 [B, T, F, 2]; the hop is a quarter of the window."""
    spectrum_BxTxF = stft.transform(audio_BxS, stft.hann(window, unit_energy=True), window // 4)
    return jnp.stack([spectrum_BxTxF.real, spectrum_BxTxF.imag], axis=-1)


class Convolution(nn.Module):
    """Convolution over time and frequency, strided over frequency, with `nn.Conv`'s parameters.

    Neighbouring bins are first moved into channels, because the gradient of a strided convolution
    is slow on CPUs (0.12 s instead of 0.016 s for 8 channels and 513 bins on one core).
    """

    features: int
    kernel: tuple[int, int] = (3, 3)  # time, frequency
    stride: int = 1  # over frequency
    dilation: int = 1  # over time

    @nn.compact
    def __call__(self, h_BxTxFxC: jax.Array) -> jax.Array:
        """[B, T, F, C] -> [B, T, ceil(F / stride), features]."""
        rows, steps, bins, width = h_BxTxFxC.shape
        (time, frequency), stride = self.kernel, self.stride
        shape = (time, frequency, width, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        side, taps = (time - 1) * self.dilation // 2, -(-frequency // stride)
        left, result = (frequency - 1) // 2, -(-bins // stride)
        right = (result + taps - 1) * stride - bins - left
        h = jnp.pad(h_BxTxFxC, ((0, 0), (0, 0), (left, right), (0, 0)))
        kernel = jnp.pad(kernel, ((0, 0), (0, taps * stride - frequency), (0, 0), (0, 0)))
        h = jax.lax.conv_general_dilated(
            h.reshape(rows, steps, -1, stride * width),
            kernel.reshape(time, taps, stride * width, self.features),
            window_strides=(1, 1),
            padding=((side, side), (0, 0)),
            rhs_dilation=(self.dilation, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return h + bias


class ScaleDiscriminator(nn.Module):
    """The discriminator for one window length."""

    window: int  # samples
    filters: int  # channels of the convolutions

    @nn.compact
    def __call__(self, audio_BxS: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Logits [B, T, F / 8] and five feature maps [B, T, F', filters], with F' from F to F / 8.

        Args:
            audio_BxS: waveform in [-1, 1], float32.
        """
        h, features = complex_stft(audio_BxS, self.window), []
        wide = {"kernel": (3, 9)}
        shapes = [wide, *({**wide, "stride": 2, "dilation": d} for d in DILATIONS), {}]
        for number, shape in enumerate(shapes):
            h = Convolution(self.filters, name=f"convolution_{number}", **shape)(h)
            h = nn.leaky_relu(h, SLOPE)
            features.append(h)
        return Convolution(1, name="logits")(h)[..., 0], features


class Discriminator(nn.Module):
    """The discriminators of all window lengths."""

    windows: tuple[int, ...]  # samples
    filters: int  # channels of the convolutions

    @nn.compact
    def __call__(self, audio_BxS: jax.Array) -> tuple[list[jax.Array], list[list[jax.Array]]]:
        """Logits and feature maps of each window length; see `ScaleDiscriminator`."""
        scales = [
            ScaleDiscriminator(window, self.filters, name=f"window_{window}")(audio_BxS)
            for window in self.windows
        ]
        logits, features = zip(*scales, strict=True)
        return list(logits), list(features)
