"""Mel-frequency cepstral coefficients with deltas, from a log-mel spectrogram.

    log-mel [..., T, M] -> orthonormal DCT-II over the bands, coefficients 0 to 12 [..., T, 13]
        -> concatenated with their regression deltas and the deltas of those [..., T, 39]

The input must be the logarithm of mel magnitudes or energies without normalisation per band
(`log_mel.LogMel.raw`, not its `encode`), because the DCT mixes the bands. The result is not
normalised either: the 39 channels differ in scale by two orders of magnitude, so scale each to zero
mean and unit variance before clustering or predicting them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.errors import UserError

COEFFICIENTS = 13  # including coefficient 0, which measures the level
DELTA_WINDOW = 2  # frames to each side


def mfcc(log_mel: jax.Array, frames: jax.Array | None = None) -> jax.Array:
    """13 cepstral coefficients, 13 deltas, 13 double deltas; float32 [..., T, 39].

    Args:
        log_mel: [..., T, M], any float type, M >= 13.
        frames: int32 [...], real frames of each row; see `deltas`.

    Raises:
        UserError: there are fewer bands than coefficients.
    """
    return with_deltas(cepstrum(log_mel), frames)


def cepstrum(log_mel: jax.Array) -> jax.Array:
    """Coefficients 0 to 12 of the orthonormal DCT-II over the bands; float32 [..., T, 13].

    Args:
        log_mel: [..., T, M], any float type, M >= 13.

    Raises:
        UserError: there are fewer bands than coefficients.
    """
    bands = log_mel.shape[-1]
    if bands < COEFFICIENTS:
        raise UserError(
            f"MFCC: {COEFFICIENTS} coefficients cannot be taken from {bands} mel bands; set"
            f" --config.features.mel_bands to {COEFFICIENTS} or more"
        )
    angle_MxC = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(COEFFICIENTS))
    basis_MxC = np.sqrt(2 / bands) * np.cos(angle_MxC)
    basis_MxC[:, 0] /= np.sqrt(2)
    return jnp.einsum(
        "...m,mc->...c",
        log_mel.astype(jnp.float32),
        basis_MxC.astype(np.float32),
        precision="highest",
    )


def with_deltas(x: jax.Array, frames: jax.Array | None = None) -> jax.Array:
    """Concatenate `x` with its deltas and double deltas: [..., T, 3 C].

    Args:
        x: features over time, [..., T, C].
        frames: int32 [...], real frames of each row; see `deltas`.
    """
    first = deltas(x, frames)
    return jnp.concatenate([x, first, deltas(first, frames)], axis=-1)


def deltas(x: jax.Array, frames: jax.Array | None = None) -> jax.Array:
    """Slope over time at each frame by linear regression, sum_n n (x_t+n - x_t-n) / (2 sum_n n^2).

    n runs from 1 to DELTA_WINDOW. A row is extended by repeating its first and last real frame.

    Args:
        x: [..., T, C].
        frames: int32 [...], number of real frames of each row, so that padding does not change
            their deltas; deltas on padding are meaningless. None: all T frames are real.

    Returns:
        Slopes, [..., T, C].
    """
    time = x.shape[-2]
    last = jnp.full(x.shape[:-2], time) if frames is None else frames
    last = jnp.maximum(last - 1, 0)[..., None]

    def shifted(by: int) -> jax.Array:
        index = jnp.clip(jnp.arange(time) + by, 0, last)
        return jnp.take_along_axis(x, index[..., None], axis=-2)

    steps = range(1, DELTA_WINDOW + 1)
    total = sum(n * (shifted(n) - shifted(-n)) for n in steps)
    return total / (2 * sum(n * n for n in steps))
