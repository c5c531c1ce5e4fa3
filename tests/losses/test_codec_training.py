"""The losses of codec training agree with closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.losses import codec_training

ONE = jnp.ones(1)
distance = jax.jit(functools.partial(codec_training.multi_scale_mel, real_B=ONE, sample_rate=16000))


def test_mel_distance_is_a_distance(clip):
    audio = jnp.asarray(clip[None, :32000])
    noise = jax.random.normal(jax.random.key(0), audio.shape)
    values = [float(distance(audio, audio + level * noise)) for level in (0.0, 1e-3, 1e-2)]
    assert values[0] == 0.0 and values[0] < values[1] < values[2]
    # Doubling the amplitude adds log10(2) in each of the seven scales, above the floor.
    loud = 0.3 * noise
    twice = distance(loud, 2 * loud)
    assert float(twice) == pytest.approx(7 * np.log10(2), rel=1e-3)


def test_mel_gradient_is_finite_in_silence(clip):
    audio = jnp.asarray(clip[None, :8000])

    gradient = jax.jit(jax.grad(distance, argnums=1))
    for fake in (jnp.zeros_like(audio), audio):
        assert np.isfinite(gradient(audio, fake)).all()


spectral = jax.jit(
    functools.partial(codec_training.spectral_distance, real_B=ONE, sample_rate=16000)
)


def test_spectral_distance_counts_levels_and_phases(clip):
    audio = jnp.asarray(clip[None, 8000:24000])
    assert float(spectral(audio, audio)) < 1e-5
    # Magnitudes are equal, and so are all parts but the complex one: |X - (-X)| = 2 |X|.
    noise = 0.3 * jax.random.normal(jax.random.key(0), audio.shape)
    opposite, louder = float(spectral(noise, -noise)), float(spectral(noise, 2.0 * noise))
    root = float(np.sqrt(0.3) * 0.9064)  # the mean of sqrt |X| is sigma^.5 Gamma(1.25)
    assert opposite == pytest.approx(5 * 2 * root, rel=0.02)
    step = np.sqrt(2) - 1  # of the root when the magnitude doubles
    assert louder == pytest.approx(2 * np.log(2) + (5 + 5) * step * root, rel=0.03)
    gradient = jax.jit(jax.grad(spectral, argnums=1))
    for fake in (jnp.zeros_like(audio), audio):
        assert np.isfinite(gradient(audio, fake)).all()


def test_hinges():
    real = [jnp.array([[2.0, 0.5]]), jnp.array([[-1.0]])]
    fake = [jnp.array([[-2.0, 0.0]]), jnp.ones((1, 1))]
    # Per scale: mean(max(0, 1 - real)) + mean(max(0, 1 + fake)).
    assert (
        float(codec_training.discriminator_hinge(real, fake, ONE))
        == ((0.25 + 0.5) + (2.0 + 2.0)) / 2
    )
    assert float(codec_training.generator_hinge(fake, ONE)) == ((3.0 + 1.0) / 2 + 0.0) / 2


def test_feature_matching_is_relative():
    rng, both = np.random.default_rng(0), jnp.ones(2)
    real = [[jnp.asarray(rng.normal(size=(2, 5))) for _ in range(3)] for _ in range(2)]
    for scale in (1.0, 100.0):
        off = [[1.5 * scale * f for f in row] for row in real]
        scaled = [[scale * f for f in row] for row in real]
        assert float(codec_training.feature_matching(scaled, off, both)) == pytest.approx(
            0.5, rel=1e-5
        )
    assert float(codec_training.feature_matching(real, real, both)) == 0.0
    fake = [[2 * jnp.ones(2)]]
    gradient = jax.grad(lambda r: codec_training.feature_matching([[r]], fake, both))(jnp.ones(2))
    np.testing.assert_array_equal(gradient, 0.0)  # the real side is a target


def test_balanced_gradient_has_the_share_of_each_loss():
    key = jax.random.key(0)
    gradients = {
        "mel": 1e4 * jax.random.normal(key, (4, 100)),
        "wave": 1e-6 * jax.random.normal(jax.random.fold_in(key, 1), (4, 100)),
    }
    norms = codec_training.gradient_norms(gradients, jnp.ones(4))
    np.testing.assert_allclose(
        norms["mel"], np.linalg.norm(gradients["mel"], axis=-1).mean(), rtol=1e-5
    )
    mixed = codec_training.balance(gradients, {"mel": 3.0, "wave": 1.0}, norms)
    expected = 0.75 * gradients["mel"] / norms["mel"] + 0.25 * gradients["wave"] / norms["wave"]
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)
    rest = {"wave": mixed - 0.75 * gradients["mel"] / norms["mel"]}
    share = codec_training.gradient_norms(rest, jnp.ones(4))
    assert float(share["wave"]) == pytest.approx(0.25, rel=1e-3)
