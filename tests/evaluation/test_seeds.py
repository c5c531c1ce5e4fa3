"""Means over clips and seeds; clips that a judge could not score."""

import numpy as np

from uniwav_jax.evaluation import seeds


def test_means():
    runs = [
        [{"errors": [1, 0, 0, 3], "pesq_wb": 2.0}, {"errors": [0, 0, 0, 6], "pesq_wb": 3.0}, {}],
        [{"errors": [3, 0, 0, 1], "pesq_wb": 2.0}, {"errors": [0, 0, 0, 6]}, {}],
    ]
    found = seeds.means(runs, ["word_error", "pesq_wb", "stoi"])
    assert found.keys() == {"word_error", "pesq_wb"}
    np.testing.assert_allclose(found["word_error"]["mean"], 0.2)
    assert found["word_error"]["low"] < 0.2 < found["word_error"]["high"]
    assert found["word_error"]["clips"] == 2
    # Only the first clip has a score with every seed, and one clip has no interval.
    assert found["pesq_wb"] == {"mean": 2.0, "low": None, "high": None, "clips": 1}
