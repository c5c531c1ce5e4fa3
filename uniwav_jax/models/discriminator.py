"""Multi-scale STFT discriminator of a codec's training (EnCodec, arXiv 2210.13438, section 3.4).

    waveform [B, S] -> complex STFT, real and imaginary part as channels [B, T, F, 2]
        -> convolutions over time and frequency, leaky ReLU after each (the features)
        -> logits [B, T, F']

once per window length; each scale judges alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

DILATIONS = (1, 2, 4)  # over time; EnCodec
SLOPE = 0.2  # of the leaky ReLU; EnCodec


def complex_stft(audio_BxS: jax.Array, window: int) -> jax.Array:
    """Windows that lie whole in the audio, hop a quarter of them; float32 [B, T, F, 2].

    A periodic Hann window of unit energy.
    """
    hop = window // 4
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    hann = (hann / np.sqrt(np.square(hann).sum())).astype(np.float32)
    starts = np.arange(0, audio_BxS.shape[1] - window + 1, hop)
    frames_BxTxW = audio_BxS[:, starts[:, None] + np.arange(window)]
    spectrum_BxTxF = jnp.fft.rfft(frames_BxTxW * hann)
    return jnp.stack([spectrum_BxTxF.real, spectrum_BxTxF.imag], axis=-1)


class ScaleDiscriminator(nn.Module):
    """One window length."""

    window: int
    filters: int

    @nn.compact
    def __call__(self, audio_BxS: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Logits [B, T, F'] and five feature maps [B, T, F'', filters]."""

        def convolution(h: jax.Array, name: str, **options) -> jax.Array:
            options = {"features": self.filters, "kernel_size": (3, 3), **options}
            time, frequency = options["kernel_size"]
            dilation, _ = options.get("kernel_dilation", (1, 1))
            sides = ((time - 1) * dilation // 2, (frequency - 1) // 2)
            return nn.Conv(padding=[(side, side) for side in sides], name=name, **options)(h)

        h, features = complex_stft(audio_BxS, self.window), []
        wide = {"kernel_size": (3, 9)}
        shapes = [
            wide,
            *({**wide, "strides": (1, 2), "kernel_dilation": (d, 1)} for d in DILATIONS),
            {},
        ]
        for number, shape in enumerate(shapes):
            h = nn.leaky_relu(convolution(h, f"convolution_{number}", **shape), SLOPE)
            features.append(h)
        return convolution(h, "logits", features=1)[..., 0], features


class Discriminator(nn.Module):
    """All window lengths."""

    windows: tuple[int, ...]  # samples
    filters: int

    @nn.compact
    def __call__(self, audio_BxS: jax.Array) -> tuple[list[jax.Array], list[list[jax.Array]]]:
        """Logits and feature maps of each scale."""
        judged = [
            ScaleDiscriminator(window, self.filters, name=f"window_{window}")(audio_BxS)
            for window in self.windows
        ]
        logits, features = zip(*judged, strict=True)
        return list(logits), list(features)
