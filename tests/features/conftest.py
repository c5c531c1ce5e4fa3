"""Plain log-mel features, their statistics, and speech."""

import numpy as np
import pytest
import soundfile

from uniwav_jax import features as features_lib
from uniwav_jax.config import FeaturesConfig

PLAIN = {"mean": np.zeros(80, np.float32), "std": np.ones(80, np.float32)}


@pytest.fixture(scope="session")
def log_mel_features():
    return features_lib.build(FeaturesConfig())


@pytest.fixture(scope="session")
def speech(small_corpus):
    """Real clips of three seconds, int16 [B, 48000]."""
    clips = [soundfile.read(p, dtype="int16")[0] for p in sorted(small_corpus.glob("*.flac"))]
    return np.stack([clip for clip in clips if len(clip) == 48000])
