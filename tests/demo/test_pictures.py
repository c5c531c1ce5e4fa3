"""Pictures of a recording, and colours of states."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from uniwav_jax.demo import pictures

WAVE = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


@pytest.fixture
def shades():
    return np.tile([1.0, 0.0, 0.0], (50, 1))


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_rows_have_a_place_below_the_spectrogram(shades):
    alone = pictures.timeline(WAVE, 16000)
    assert size(alone) == (1100, 250)
    strips = pictures.timeline(WAVE, 16000, strips={"a": shades, "b": shades}, frame_rate=50)
    assert size(strips) == (1100, 310)
    pixels = np.asarray(Image.open(io.BytesIO(strips)).convert("RGB")).reshape(-1, 3)
    red = (pixels == (255, 0, 0)).all(1).sum()
    assert 0.8 * 1100 * 40 < red < 1100 * 60
    spans = {"words": [(0.0, 0.4, "$5_{"), (0.4, 1.0, "b")]}  # is no formula
    assert size(pictures.timeline(WAVE, 16000, spans=spans)) == (1100, 290)


def test_long_speech_with_labels_is_wider_than_the_page():
    wave, spans = np.tile(WAVE, 20), {"words": [(0.0, 20.0, "a")]}
    wide = pictures.timeline(wave, 16000, spans=spans)
    assert size(wide)[0] == 4400
    assert "max-width:none" in pictures.html(wide, "")
    narrow = pictures.timeline(np.zeros(16000, np.float32), 16000)
    text = pictures.html(narrow, 'the "words"')
    assert "width:100%" in text and 'alt="the &quot;words&quot;"' in text
    assert base64.b64decode(re.search('base64,([^"]+)', text)[1]) == narrow


def test_similar_states_have_similar_colours():
    """Rotated and shifted states of another layer have the same colours."""
    draw = np.random.default_rng(0)
    states_TxD = np.repeat(draw.normal(size=(10, 8)), 5, axis=0) * np.arange(8, 0, -1)
    turn, _ = np.linalg.qr(draw.normal(size=(8, 8)))
    found = pictures.components(np.stack([states_TxD, 3 * states_TxD @ turn + 1]))
    assert found.shape == (2, 50, 3) and found.min() >= 0 and found.max() <= 1
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    groups = found[0].reshape(10, 5, 3)
    assert np.ptp(groups, axis=1).max() < 1e-6 and np.ptp(groups, axis=0).min() > 0.3


def test_few_frames_and_constant_states_have_colours():
    assert pictures.components(np.ones((2, 1, 2), np.float32)).tolist() == [[[0.5] * 3]] * 2
    assert np.isfinite(pictures.components(np.zeros((1, 40, 16), np.float32))).all()
