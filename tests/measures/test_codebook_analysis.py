"""The measures of discrete codes agree with closed forms."""

import math

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.measures import codebook_analysis as analysis

PHONES = np.repeat(["AA", "B", "CH", "D"], 250)


def test_perfect_code():
    codes = np.repeat([17, 3, 200, 5], 250)
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(1.0)


def test_independent_code():
    codes = np.tile(np.arange(5), 200)  # each phone has each of the five codes 50 times
    assert analysis.joint_counts(codes, PHONES).tolist() == [[50] * 5] * 4
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(1 / 4)
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(1 / 5)
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(0.0, abs=1e-12)


def test_merged_pair():
    codes = np.repeat([0, 0, 1, 2], 250)  # AA and B share a code: I = H - (1/2) ln 2, H = ln 4
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(3 / 4)
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(
        1 - math.log(2) / 2 / math.log(4)
    )


def test_split_phone():
    codes = np.concatenate([np.repeat([8, 9], 125), np.repeat([1, 2, 3], 250)])
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(7 / 8)
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(1.0)


def test_unequal_phones():
    """Phones have shares 3/4 and 1/4; one code covers half of the first phone, another the rest."""
    labels = np.repeat(["AA", "B"], [6, 2])
    codes = np.repeat([0, 1], [3, 5])
    h_phone = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    h_given_code = 5 / 8 * -(3 / 5 * math.log(3 / 5) + 2 / 5 * math.log(2 / 5))
    assert analysis.phone_purity(analysis.joint_counts(codes, labels)) == pytest.approx(6 / 8)
    assert analysis.cluster_purity(analysis.joint_counts(codes, labels)) == pytest.approx(5 / 8)
    assert analysis.pnmi(analysis.joint_counts(codes, labels)) == pytest.approx(
        1 - h_given_code / h_phone
    )


def test_shuffled_labels_give_the_bias_of_a_finite_sample():
    """Independent variables have about (V-1)(P-1) / 2N nats of information (Miller-Madow)."""
    rng = np.random.default_rng(0)
    labels = PHONES[rng.integers(0, 1000, 20000)]
    codes = (np.unique(labels, return_inverse=True)[1] * 64 + rng.integers(0, 64, 20000)) % 256
    assert analysis.pnmi(analysis.joint_counts(codes, labels)) == pytest.approx(1.0)
    floor = analysis.pnmi_shuffled(codes, labels, seed=1)
    assert floor == pytest.approx(255 * 3 / (2 * 20000) / math.log(4), rel=0.1)
    assert floor == analysis.pnmi_shuffled(codes, labels, seed=1)


def test_one_phone_and_bad_shapes():
    assert analysis.pnmi(analysis.joint_counts(np.arange(4), np.repeat("sil", 4))) == 0.0
    with pytest.raises(UserError, match=r"\(3,\) and labels \(4,\)"):
        analysis.joint_counts(np.arange(3), np.repeat("sil", 4))
    with pytest.raises(UserError, match="at least one"):
        analysis.joint_counts(np.zeros(0, int), np.zeros(0, str))


def test_counts_by_clip_sum_to_the_whole():
    rng = np.random.default_rng(0)
    codes, clips = rng.integers(0, 20, 1000), rng.integers(0, 7, 1000)
    by_clip = analysis.joint_counts_by_clip(codes, PHONES, clips)
    np.testing.assert_array_equal(by_clip.sum(0), analysis.joint_counts(codes, PHONES))
    np.testing.assert_array_equal(by_clip.sum((1, 2)), np.bincount(clips))
