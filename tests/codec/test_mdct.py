"""The analytic path of the MDCT codec, and what its networks may see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codec.random_codec import random_codec
from uniwav_jax.codec import chunked, mdct
from uniwav_jax.codec.config import MdctConfig
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError

SMALL = {"width": 16, "inner": 24, "encoder_blocks": 1, "decoder_blocks": 1}
# The skip path carries the whole signal.
WHOLE = {q: MdctConfig(**SMALL, shape=320, free=0, quadrature=q) for q in (0, 28, 320)}


def analytic(config):
    """Encoder and decoder whose networks add nothing."""
    params = jax.tree.map(jnp.zeros_like, random_codec(config)["network"])
    apply = jax.jit(Codec(config).apply, static_argnames="method")
    return lambda x, method: np.asarray(apply({"params": params}, x, method=method))


@pytest.mark.parametrize("quadrature", [0, 320])
@pytest.mark.parametrize("samples", [1, 320, 321, 5000])
def test_the_skip_path_alone_reconstructs_all_samples(samples, quadrature, clip):
    run, audio = analytic(WHOLE[quadrature]), clip[None, 8000 : 8000 + samples]
    decoded = run(run(audio, "encode"), "decode")
    assert decoded.shape == (1, -(-samples // 320) * 320)
    assert np.abs(decoded[:, :samples] - audio).max() < 1e-5
    # What a frame holds beyond the end is the silence that fills it.
    assert np.abs(decoded[:, samples:]).max(initial=0.0) < 1e-5


def test_the_mean_of_both_transforms_changes_little_at_its_edge(clip):
    run, audio = analytic(WHOLE[28]), clip[None, 8000:24000]
    error = (run(run(audio, "encode"), "decode") - audio)[:, 320:-320]
    assert 1e-5 < np.square(error).mean() / np.square(audio).mean() < 10**-2.5


def test_the_mean_of_both_transforms_halves_the_noise():
    """White noise at one level, so that all coefficients have the same error."""
    random = np.random.default_rng(0)
    audio = 0.1 * random.normal(size=(1, 200 * 320)).astype(np.float32)
    energies = []
    for quadrature in (0, 320):
        run, config = analytic(WHOLE[quadrature]), WHOLE[quadrature]
        z = run(audio, "encode")
        fine = np.arange(config.dimension) < config.fine
        noise = 1e-2 * fine * random.normal(size=z.shape).astype(np.float32)
        error = run((z + noise).astype(np.float32), "decode") - run(z, "decode")
        energies.append(np.square(error[:, 320:-320]).mean())
    assert abs(energies[1] / energies[0] - 0.5) < 0.015


def test_mdct_is_the_direct_sum_and_orthonormal():
    hop = 8
    basis = mdct.basis(hop)
    for k in (0, 3, 7):
        for n in (0, 5, 15):
            angle = np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5)
            sine = np.sin(np.pi * (n + 0.5) / (2 * hop))
            expected = np.sqrt(2 / hop) * sine * np.array([np.cos(angle), np.sin(angle)])
            np.testing.assert_allclose(basis[n, [k, hop + k]], expected, atol=1e-6)
    # Windows a hop apart have orthogonal coefficients; each has a norm of 1.
    first, second = basis[:, :hop], np.roll(basis[:, :hop], hop, axis=0)
    second[:hop] = 0.0
    np.testing.assert_allclose(first.T @ first, np.eye(hop), atol=1e-6)
    np.testing.assert_allclose(first[hop:].T @ second[hop:], 0.0, atol=1e-6)


def test_bands_cover_all_coefficients_and_gains_are_interpolated():
    edges = mdct.band_edges(320, 18)
    np.testing.assert_array_equal(edges[:5], [0, 9, 18, 27, 36])  # 225 Hz each, up to 900 Hz
    widths = np.diff(edges)
    assert edges[-1] == 320 and (np.diff(widths[4:]) >= 0).all() and widths[-1] < 40
    average, spread = mdct.bands(320, 18)
    np.testing.assert_allclose(average.sum(0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(spread.sum(0), 1.0, rtol=1e-5)
    line = np.interp(np.arange(320), [4, 13], [2.0, 1.0])
    gains = np.array([2.0, *[1.0] * 17])
    np.testing.assert_allclose(gains @ spread, line, atol=1e-6)


def test_gains_follow_the_level_and_shapes_do_not():
    run = analytic(MdctConfig(**SMALL))
    audio = 0.3 * np.random.default_rng(0).normal(size=(1, 3200)).astype(np.float32)
    loud, quiet = run(audio, "encode"), run(0.25 * audio, "encode")
    shape, cepstrum = slice(0, 100), slice(100, 118)
    assert np.abs(loud - quiet)[..., shape].max() < 1e-3
    gains = [z[0, :, cepstrum] @ mdct.cosine(18).T * mdct.SPREAD for z in (loud, quiet)]
    np.testing.assert_allclose(gains[0] - gains[1], np.log(4.0), atol=1e-3)
    assert np.abs(loud[..., 118:]).max() == 0.0  # channels without a skip path


def test_a_frame_depends_on_the_stated_samples_only():
    config = MdctConfig(**SMALL)
    left, right, _, down = chunked.reach(mdct.encoder(config))
    params = {"params": random_codec(config)["network"]}
    apply = jax.jit(Codec(config).apply, static_argnames="method")
    audio = np.random.default_rng(0).normal(size=(1, 40 * 320)).astype(np.float32)
    z = apply(params, audio, method="encode")
    for sample in (20 * 320 - left - 1, 20 * 320 + down + right):
        changed = audio.copy()
        changed[0, sample] += 1.0
        difference = np.abs(apply(params, changed, method="encode") - z)[0].max(1)
        assert difference[20] == 0.0 and difference[(sample // 320)] > 0.0
    left, right, up, _ = chunked.reach(mdct.decoder(config))
    y = apply(params, z, method="decode")
    for frame in (20 - left - 1, 20 + right + 1):
        changed = np.asarray(z).copy()
        changed[0, frame] += 1.0
        difference = np.abs(apply(params, changed, method="decode") - y)[0].reshape(-1, up).max(1)
        assert difference[20] == 0.0 and difference[frame] > 0.0


@pytest.mark.parametrize("kind", ["silence", "full scale", "offset", "tone"])
def test_signals_that_are_not_speech_stay_finite(kind):
    time = np.arange(16000) / 16000
    signals = {
        "silence": np.zeros(16000),
        "full scale": np.sign(np.sin(2 * np.pi * 220 * time)),
        "offset": np.full(16000, 0.5),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * time),
    }
    run, audio = analytic(MdctConfig(**SMALL)), signals[kind][None].astype(np.float32)
    z = run(audio, "encode")
    decoded = run(z, "decode")
    assert np.isfinite(z).all() and np.isfinite(decoded).all()
    assert np.abs(decoded).max() < 3.0
    if kind == "silence":
        assert np.abs(decoded).max() < 1e-3


def test_normalisation_gives_shapes_their_own_deviation():
    config = MdctConfig(shape=1, quadrature=1, bands=3, free=1, fine_scale=0.5, **SMALL)
    assert config.dimension == 6 and config.scale == (0.5, 0.5, 1.0, 1.0, 1.0, 1.0)


def test_bfloat16_changes_latents_and_speech_little(clip):
    """By a few thousandths of their energy: bfloat16 has 8 bits."""
    full = MdctConfig(**SMALL)
    params = {"params": random_codec(full)["network"]}
    z, y = [], []
    for config in (full, dataclasses.replace(full, compute_dtype="bfloat16")):
        apply = jax.jit(Codec(config).apply, static_argnames="method")
        z.append(apply(params, clip[None, :16000], method="encode"))
        y.append(apply(params, z[0], method="decode"))
    for exact, rounded in (z, y):
        assert rounded.dtype == jnp.float32
        assert 0.0 < jnp.square(rounded - exact).mean() < 5e-3 * jnp.square(exact).mean()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernel": 4}, "kernel must be odd"),
        ({"hop": 321}, "hop must be even"),
        ({"shape": 20, "quadrature": 21}, r"quadrature \(21\) must be at most shape \(20\)"),
        ({"bands": 2}, "bands must lie between 3 and hop / 10"),
        ({"width": 0}, "width must be positive"),
        ({"compute_dtype": "float16"}, "compute_dtype must be float32 or bfloat16"),
    ],
)
def test_wrong_structures_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        MdctConfig(**values).validate()
