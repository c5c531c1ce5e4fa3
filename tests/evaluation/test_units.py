"""Measures of synthetic codes on synthetic labels."""

import numpy as np

from uniwav_jax.evaluation import units

LABELS = [np.repeat(["AA", "B"], 50), np.repeat(["B", "sil"], 50)]
CLIPS = units.Clips([], LABELS, 2, 200)
PERFECT = np.unique(np.concatenate(LABELS), return_inverse=True)[1]


def test_perfect_codes_and_one_code():
    perfect, nothing = units.measure(np.stack([PERFECT, 0 * PERFECT]), CLIPS, lowest=3)
    assert (perfect["layer"], nothing["layer"]) == (3, 4)
    assert perfect["pnmi"] > 0.999 and perfect["phone_purity"] == 1.0
    assert perfect["active_codewords"] == 3 and nothing["active_codewords"] == 1
    assert abs(nothing["pnmi"]) < 1e-9 and perfect["pnmi_shuffled"] < 0.1


def test_the_interval_of_a_clear_difference_is_above_zero():
    random = np.random.default_rng(0).integers(0, 3, (1, 200))
    (layer,) = units.compare(PERFECT[None], random, CLIPS)
    assert layer["layer"] == 1 and 0 < layer["pnmi_low"] <= layer["pnmi_high"]
