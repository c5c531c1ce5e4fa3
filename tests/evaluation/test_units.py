"""Measures of synthetic codes on synthetic labels."""

import numpy as np

from uniwav_jax.evaluation import units

LABELS = [np.repeat(["AA", "B"], 50), np.repeat(["B", "sil"], 50)]
CLIPS = units.Clips([], LABELS, ["a", "b"], 2, 200)
PERFECT = np.unique(np.concatenate(LABELS), return_inverse=True)[1]


def test_perfect_codes_and_one_code():
    perfect, nothing = units.measure(np.stack([PERFECT, 0 * PERFECT]), CLIPS, lowest=3)
    assert (perfect["layer"], nothing["layer"]) == (3, 4)
    assert perfect["pnmi"] > 0.999 and perfect["phone_purity"] == 1.0
    assert perfect["active_codewords"] == 3 and nothing["active_codewords"] == 1
    assert abs(nothing["pnmi"]) < 1e-9 and perfect["pnmi_shuffled"] < 0.1
    np.testing.assert_allclose(perfect["phones_plug_in"], 1.5 * np.log(2))  # 1/4, 1/2, 1/4
    assert "speakers_two_point" not in perfect and "2 utterances" in units.about_speakers(CLIPS)


def test_information_about_speakers_is_of_whole_clips():
    """Speaker a says only code 0, speaker b only code 1: ln 2 nats."""
    count = 40
    names = ["a", "b"] * (count // 2)
    clips = units.Clips([], [np.array(["AA", "B"])] * count, names, count, 2 * count)
    codes = np.repeat([[name == "b" for name in names]], 2, axis=1).astype(int)
    (layer,) = units.measure(codes, clips, lowest=0)
    assert units.about_speakers(clips) == ""
    np.testing.assert_allclose(layer["speakers_plug_in"], np.log(2))
    assert layer["speakers_permutation"] <= layer["speakers_plug_in"] and layer["pnmi"] < 1e-9


def test_the_interval_of_a_clear_difference_is_above_zero():
    random = np.random.default_rng(0).integers(0, 3, (1, 200))
    (layer,) = units.compare(PERFECT[None], random, CLIPS)
    assert layer["layer"] == 1 and 0 < layer["pnmi_low"] <= layer["pnmi_high"]
