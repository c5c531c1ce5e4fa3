"""MFCC against scipy's DCT and regression, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.signal

from uniwav_jax.errors import UserError
from uniwav_jax.features import mfcc


@pytest.fixture(scope="module")
def log_mel():
    return np.random.default_rng(0).normal(-3, 2, (2, 30, 80)).astype(np.float32)


def test_against_scipy(log_mel):
    """Linear regression over five frames is the first derivative of a Savitzky-Golay filter."""

    def slope(x):
        padded = np.pad(x, ((0, 0), (2, 2), (0, 0)), mode="edge")
        return scipy.signal.savgol_filter(padded, 5, 1, deriv=1, axis=1)[:, 2:-2]

    found = np.asarray(jax.jit(mfcc.mfcc)(log_mel))
    coefficients = scipy.fft.dct(log_mel.astype(np.float64), 2, axis=-1, norm="ortho")[..., :13]
    assert found.shape == (2, 30, 39) and found.dtype == np.float32
    np.testing.assert_allclose(found[..., :13], coefficients, atol=2e-5)
    np.testing.assert_allclose(found[..., 13:26], slope(coefficients), atol=2e-5)
    np.testing.assert_allclose(found[..., 26:], slope(slope(coefficients)), atol=2e-5)


def test_deltas_of_a_parabola():
    """3 + 2 t - t^2 / 2 has the slope 2 - t and the curvature -1; end frames are repeated."""
    t = np.arange(20.0)
    found = np.asarray(mfcc.with_deltas(jnp.asarray(3 + 2 * t - t**2 / 2)[:, None]))
    np.testing.assert_allclose(found[2:-2, 1], (2 - t)[2:-2], atol=1e-4)
    np.testing.assert_allclose(found[4:-4, 2], -1, atol=1e-4)
    # Frame 0 reads 3, 3, [3], 4.5, 5, so its slope is (1 (4.5 - 3) + 2 (5 - 3)) / 10.
    assert found[0, 1] == pytest.approx(0.55)


def test_padding_does_not_change_real_frames(log_mel):
    frames = np.array([30, 17], np.int32)
    noise = log_mel.copy()
    noise[1, 17:] = 100.0
    padded = mfcc.mfcc(noise, frames)
    np.testing.assert_allclose(padded[0], mfcc.mfcc(log_mel[0]), atol=1e-5)
    np.testing.assert_allclose(padded[1, :17], mfcc.mfcc(log_mel[1, :17]), atol=1e-5)
    assert np.abs(mfcc.mfcc(noise)[1, :17] - padded[1, :17]).max() > 1  # without `frames`


def test_too_few_bands():
    with pytest.raises(UserError, match="13 coefficients cannot be taken from 12 mel bands"):
        mfcc.mfcc(jnp.zeros((4, 12)))
