"""Losses of codec training: spectral distance, adversarial losses, and their balance.

The spectral distance compares waveforms, float32 [B, S]. Adversarial losses read the
discriminator's logits and feature maps, one list entry per scale (`models.discriminator`). Means
are over the real rows: `real_B`, float32 [B], is 1 for a row with speech and 0 for an empty or
unreadable one. Each loss is float32 [].
"""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.audio import stft

# Window lengths and mel bands of the reconstruction loss: DAC (arXiv 2306.06546), section 3.4.
MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
FLOOR = 1e-5  # smallest mel magnitude; DAC
SPECTRUM_WINDOWS = (128, 256, 512, 1024, 2048)  # samples; ours
SPECTRUM_FLOOR = 1e-7  # added to the power of each bin; ours
EPSILON = 1e-12


def row_mean(x: jax.Array, real_B: jax.Array) -> jax.Array:
    """Mean of x [B, ...] over the real rows; 0 if there is none."""
    per_row_B = x.reshape(len(x), -1).mean(1)
    return (per_row_B * real_B).sum() / jnp.maximum(real_B.sum(), 1.0)


def multi_scale_mel(
    real_BxS: jax.Array, fake_BxS: jax.Array, real_B: jax.Array, *, sample_rate: int
) -> jax.Array:
    """Sum over scales of the mean absolute difference of log10 mel magnitudes.

    Args:
        real_BxS: recorded waveforms in [-1, 1].
        fake_BxS: decoded waveforms.
        real_B: 1 for rows that count.
        sample_rate: in Hz.
    """
    total = jnp.zeros(())
    for window, bands in MEL_SCALES:
        filters_FxC = stft.mel_filters(bands, window, sample_rate, 0.0, sample_rate / 2)

        def log_mel(
            audio_BxS: jax.Array,
            window: int = window,
            filters_FxC: np.ndarray = filters_FxC,
        ) -> jax.Array:
            spectrum = stft.transform(audio_BxS, stft.hann(window), window // 4)
            # The slope of the square root at zero is infinite: silence would have a NaN gradient.
            power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
            magnitude = jnp.sqrt(power + EPSILON)
            mel = jnp.einsum("btf,fc->btc", magnitude, filters_FxC, precision="highest")
            return jnp.log10(jnp.maximum(mel, FLOOR))

        total += row_mean(jnp.abs(log_mel(real_BxS) - log_mel(fake_BxS)), real_B)
    return total


def spectral_distance(
    real_BxS: jax.Array, fake_BxS: jax.Array, real_B: jax.Array, *, sample_rate: int
) -> jax.Array:
    """Mean over window lengths of distances of complex spectra; ours.

    With magnitudes compressed to their square roots, quiet parts count as well as loud ones, and
    the phase counts where there is energy: the sum of the mean absolute differences of log
    magnitudes, 5 times those of the roots of magnitudes, 5 times those of the spectra with
    compressed magnitudes, and those of log mel magnitudes.

    Args:
        real_BxS: recorded waveforms in [-1, 1].
        fake_BxS: decoded waveforms.
        real_B: 1 for rows that count.
        sample_rate: in Hz.
    """
    total = jnp.zeros(())
    for window in SPECTRUM_WINDOWS:
        bands = max(window // 16, 10)
        filters_FxC = stft.mel_filters(bands, window, sample_rate, 0.0, sample_rate / 2)

        def parts(
            audio_BxS: jax.Array,
            window: int = window,
            filters_FxC: np.ndarray = filters_FxC,
        ) -> tuple[jax.Array, ...]:
            hann = stft.hann(window, unit_energy=True)
            padded = jnp.pad(audio_BxS, ((0, 0), (window // 2, window // 2)))
            spectrum = stft.transform(padded, hann, window // 4)
            power = jnp.square(spectrum.real) + jnp.square(spectrum.imag) + SPECTRUM_FLOOR
            log = 0.5 * jnp.log(power)
            root = jnp.exp(0.5 * log)
            mel = jnp.einsum("btf,fc->btc", root * root, filters_FxC, precision="highest")
            return log, root, spectrum.real / root, spectrum.imag / root, jnp.log(mel)

        real, fake = jax.lax.stop_gradient(parts(real_BxS)), parts(fake_BxS)
        log, root, across, along, mel = (r - f for r, f in zip(real, fake, strict=True))
        complex_distance = jnp.sqrt(jnp.square(across) + jnp.square(along) + EPSILON)
        each = (jnp.abs(log), 5.0 * jnp.abs(root), 5.0 * complex_distance)
        total += row_mean(sum(each), real_B) + row_mean(jnp.abs(mel), real_B)
    return total / len(SPECTRUM_WINDOWS)


def discriminator_hinge(
    real: list[jax.Array], fake: list[jax.Array], real_B: jax.Array
) -> jax.Array:
    """Mean over scales of max(0, 1 - D(real)) + max(0, 1 + D(fake)); EnCodec, section 3.4."""
    losses = [
        row_mean(_positive(1.0 - r), real_B) + row_mean(_positive(1.0 + f), real_B)
        for r, f in zip(real, fake, strict=True)
    ]
    return sum(losses) / len(losses)


def generator_hinge(fake: list[jax.Array], real_B: jax.Array) -> jax.Array:
    """Mean over scales of max(0, 1 - D(fake)); EnCodec, section 3.4."""
    return sum(row_mean(_positive(1.0 - f), real_B) for f in fake) / len(fake)


def feature_matching(
    real: list[list[jax.Array]], fake: list[list[jax.Array]], real_B: jax.Array
) -> jax.Array:
    """Mean over scales and layers of |real - fake| relative to the mean of |real|; EnCodec."""
    real = jax.lax.stop_gradient(real)
    losses = [
        row_mean(jnp.abs(r - f), real_B) / (row_mean(jnp.abs(r), real_B) + EPSILON)
        for real_scale, fake_scale in zip(real, fake, strict=True)
        for r, f in zip(real_scale, fake_scale, strict=True)
    ]
    return sum(losses) / len(losses)


def balance(
    gradients: dict[str, jax.Array], weights: dict[str, float], norms: dict[str, jax.Array]
) -> jax.Array:
    """Combine the losses' gradients with respect to the decoded waveform (EnCodec, section 3.4).

        g = sum_i w_i / sum_j w_j  g_i / <||g_i||>

    A loss's weight is then its share of the gradient, whatever the scale of the loss.

    Args:
        gradients: gradient of each loss with respect to the waveform, float32 [B, S].
        weights: weight of each loss.
        norms: running average of each loss's `gradient_norms`, float32 [].

    Returns:
        float32 [B, S], with a norm of about one per row.
    """
    total = sum(weights[name] for name in gradients)
    return sum(
        weights[name] / total * gradient / (norms[name] + EPSILON)
        for name, gradient in gradients.items()
    )


def gradient_norms(gradients: dict[str, jax.Array], real_B: jax.Array) -> dict[str, jax.Array]:
    """Mean over real rows of the Euclidean norm of each gradient [B, S]; float32 []."""
    return {
        name: row_mean(jnp.sqrt(jnp.square(gradient).sum(-1)), real_B)
        for name, gradient in gradients.items()
    }


def _positive(x: jax.Array) -> jax.Array:
    """The hinge, max(0, x)."""
    return jnp.maximum(x, 0.0)
