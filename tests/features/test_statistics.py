"""Statistics of features: the measurement, and the file that stores it."""

import json

import numpy as np
import pytest

from tests.features.conftest import PLAIN
from uniwav_jax import features as features_lib
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features import statistics


def test_padding_is_ignored_and_features_are_normalised(log_mel_features, speech):
    samples = np.full(len(speech), 30000, np.int32)
    audio = np.where(np.arange(48000) < 30000, speech, 0).astype(np.int16)
    item = {"audio": audio, "samples": samples}
    params = statistics.measure(log_mel_features, iter([item] * 3), 60.0)
    raw = np.asarray(log_mel_features.raw({}, audio))[:, : log_mel_features.output_length(30000)]
    np.testing.assert_allclose(params["mean"], raw.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(params["std"], raw.std((0, 1)), rtol=1e-3)
    x = np.asarray(log_mel_features.encode(params, audio))[
        :, : log_mel_features.output_length(30000)
    ]
    assert abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-2


def test_statistics_file_and_its_errors(tmp_path):
    config, path = FeaturesConfig(), tmp_path / "stats.json"
    statistics.save(str(path), PLAIN, config)
    np.testing.assert_array_equal(statistics.load(str(path), config)["std"], PLAIN["std"])
    with pytest.raises(UserError, match="measure again"):
        statistics.load(str(path), FeaturesConfig(mel_bands=40))
    path.write_text(json.dumps({"mean": []}))
    with pytest.raises(UserError, match="is not a file of 'uniwav data stats'"):
        statistics.load(str(path), config)
    with pytest.raises(UserError, match="does not exist"):
        statistics.load(str(tmp_path / "none.json"), config)
    silent = {"audio": np.zeros((1, 320), np.int16), "samples": np.zeros(1, np.int32)}
    with pytest.raises(UserError, match="no audio could be read"):
        statistics.measure(features_lib.build(config), iter([silent] * 200), 1.0)
