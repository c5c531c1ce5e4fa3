"""Quality of decoded speech: perfect at no damage, worse with more."""

import numpy as np
import pytest

from uniwav_jax.evaluation import signal


def test_more_noise_scores_worse(clip):
    noise = np.random.default_rng(0).normal(size=len(clip)).astype(np.float32)
    table = [
        signal.scores(clip, np.append(clip + level * noise, 0.0), sample_rate=16000)
        for level in (0.0, 0.003, 0.03)
    ]
    assert table[0]["mel_distance"] == pytest.approx(0.0, abs=1e-5)
    for name, better in (("mel_distance", -1), ("pesq_wb", 1), ("stoi", 1)):
        if name in signal.missing():
            print(f"{name} not compared: its package is not installed")
            continue
        values = [better * scores[name] for scores in table]
        assert values[0] > values[1] > values[2]
    if "pesq_wb" not in signal.missing():
        assert table[0]["pesq_wb"] == pytest.approx(4.64, abs=0.01)


def test_other_rates_have_the_mel_distance_alone(clip):
    assert set(signal.scores(clip, clip, sample_rate=24000)) == {"mel_distance"}
