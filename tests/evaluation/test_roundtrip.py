"""Scores of decoded clips, with noise on the latents and with codes."""

import numpy as np
import pytest

from tests.evaluation import codecs
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import roundtrip, systems


@pytest.fixture(scope="module")
def clips(clip):
    cut = {"a": clip[:32000], "b": clip[32000:64000], "short": clip[16000:17600]}
    return [systems.Clip(name, audio, "go") for name, audio in cut.items()]


def test_noise_is_repeatable_and_worsens_the_scores(clips):
    options = {"noises": (0.0, 0.3, 1.0), "seed": 1}
    mel = systems.System("mel")
    means, scores = roundtrip.measure(mel, clips, codecs.jury(), **options)
    again, _ = roundtrip.measure(mel, clips, codecs.jury(), **options)
    assert means == again and list(means) == ["noise 0", "noise 0.3", "noise 1"]
    distances = [part["mel_distance"].mean for part in means.values()]
    assert distances == sorted(distances) and distances[2] > 2 * distances[0]
    mean = means["noise 0"]["mel_distance"]
    assert mean.low <= mean.mean <= mean.high and mean.clips == 3
    assert set(scores["noise 1"]) == {"a", "b", "short"}
    if "pesq_wb" in means["noise 0"]:  # extra [quality]
        assert means["noise 0"]["pesq_wb"].clips == 2  # the short clip cannot be scored


def test_the_noise_is_in_standard_deviations_of_each_channel_over_all_clips(clips, monkeypatch):
    mel, decoded = systems.System("mel"), []
    monkeypatch.setattr(mel, "decode", lambda x: decoded.append(x) or np.zeros(320 * len(x)))
    roundtrip.measure(mel, clips, codecs.jury(), noises=(0.0, 0.5))
    plain, noisy = (np.concatenate(decoded[first : first + 3]) for first in (0, 3))
    ratio = (noisy - plain).std(0) / plain.std(0)
    np.testing.assert_allclose(ratio, 0.5, atol=0.15)


def test_codes_are_scored_where_the_codec_has_them(clips, tmp_path):
    codec = systems.System(codecs.save(tmp_path / "codec"))
    options = {"noises": (0.0,)}
    means, _ = roundtrip.measure(codec, clips, codecs.jury(), codebooks=2, **options)
    assert list(means) == ["noise 0", "2 codebooks"]
    assert means["noise 0"]["mel_distance"] != means["2 codebooks"]["mel_distance"]
    with pytest.raises(UserError, match="3 codebooks, not 4"):
        roundtrip.measure(codec, clips, codecs.jury(), codebooks=4, **options)
