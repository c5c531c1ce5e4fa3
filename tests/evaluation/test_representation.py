"""PNMI of clusters: high for features that are phones, low for noise."""

import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.evaluation import representation, systems, units
from uniwav_jax.evaluation.speech_frames import Speech
from uniwav_jax.types import Batch

PHONES = np.array(["AA", "B", "S", "sil"])
FRAMES = 100


@pytest.fixture(scope="module")
def mel():
    return systems.System("mel")


def speech(seed, *, informative):
    """Eight clips of random phones whose frames show the phones, or only noise."""
    random = np.random.default_rng(seed)
    phones = np.repeat(random.integers(0, 4, (8, FRAMES // 5)), 5, axis=1)
    x = random.normal(size=(8, FRAMES, 80)).astype(np.float32)
    if informative:
        x += 20.0 * np.eye(80, dtype=np.float32)[phones]
    samples = np.full(8, FRAMES * 320, np.int32)
    batch = Batch(None, samples, np.zeros(8, bool), latents=x)
    clips = units.Clips([batch], [PHONES[row] for row in phones], [""] * 8, 8, 8 * FRAMES)
    return Speech(clips, [], {"mean": jnp.zeros(80), "std": jnp.ones(80)})


def test_a_perfect_feature_is_above_noise(mel):
    options = {"words": 8, "updates": 5}
    other = speech(1, informative=True)
    perfect = representation.measure(mel, speech(0, informative=True), other, **options)
    noise = representation.measure(mel, speech(0, informative=False), **options)
    assert list(perfect) == ["pnmi_other", "pnmi_same"] and list(noise) == ["pnmi_same"]
    for mean in perfect.values():
        assert mean.mean > 0.95 and mean.low <= mean.mean <= mean.high + 1e-9
        assert (mean.clips, mean.of) == (8, 8)
    assert noise["pnmi_same"].mean < 0.1


def test_cepstra_of_log_mel_show_the_phones_too(mel):
    shown = speech(0, informative=True)
    found = representation.measure(mel, shown, cepstra=True, words=8, updates=5)
    assert found["pnmi_same"].mean > 0.2
    x_1xBxTxD, mask_BxT = representation.read_mfcc(mel)(shown.clips.batches[0])
    assert x_1xBxTxD.shape == (1, 8, FRAMES, 39) and mask_BxT.all()
