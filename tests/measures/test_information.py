"""Entropies and information agree with closed forms, and fall as expected on simulated speakers."""

import math

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.measures import information

FRAMES = 380  # of an utterance: 7.6 s at 50 Hz
SPEAKERS, CODES = 251, 1024


def test_entropies_of_known_distributions():
    counts = np.array([4, 2, 1, 1, 0, 0, 0, 0])
    assert information.entropy(counts) == pytest.approx(1.75 * math.log(2))
    assert information.perplexity(counts) == pytest.approx(2**1.75)
    assert information.use(counts) == 0.5
    assert information.entropy(np.array([9])) == information.entropy(np.zeros(3)) == 0.0
    assert information.perplexity(np.zeros(3)) == 1.0


def test_runs():
    codes, lengths = information.runs(np.array([5, 5, 3, 0, 0, 0, 5], np.int16))
    assert codes.tolist() == [5, 3, 0, 5] and lengths.tolist() == [2, 1, 3, 1]
    assert [len(part) for part in information.runs(np.zeros(0, np.int16))] == [0, 0]
    assert information.runs(np.zeros(9, np.int16))[1].tolist() == [9]


def test_mutual_information_of_known_tables():
    assert information.mutual_information(np.eye(4)) == pytest.approx(math.log(4))
    assert information.mutual_information(np.outer([1, 2], [3, 4, 5])) == pytest.approx(0.0)
    assert information.mutual_information(np.zeros((2, 3))) == 0.0
    joint = np.array([[3, 1], [0, 4]])
    expected = 3 / 8 * math.log(2) + 1 / 8 * math.log(0.4) + 4 / 8 * math.log(1.6)
    assert information.mutual_information(joint) == pytest.approx(expected)
    # Three cells, two labels and two codes occur: 3 - 2 - 2 + 1 = 0.
    assert information.miller_madow(joint) == pytest.approx(expected)
    assert information.miller_madow(joint + 1) == pytest.approx(
        information.mutual_information(joint + 1) - 1 / 24
    )


def test_conditional_information_follows_the_chain_rule():
    """I(label; code | group) = I(label; code, group) - I(label; group)."""
    joint = np.random.default_rng(0).integers(0, 9, (3, 4, 5))  # [groups, labels, codes]
    pairs = np.moveaxis(joint, 0, 1).reshape(4, 15)
    expected = information.mutual_information(pairs) - information.mutual_information(
        joint.sum(-1).T
    )
    assert information.mutual_information(joint) == pytest.approx(expected)


def test_miller_madow_corrects_independent_frames():
    """20 x 64 cells and 20000 frames: the plug-in estimate is too high by 19 * 63 / 40000."""
    rng, shape = np.random.default_rng(0), (20, 20, 64)
    samples = rng.multinomial(20000, np.full(20 * 64, 1 / (20 * 64)), size=20).reshape(shape)
    plug_in = np.mean([information.mutual_information(joint) for joint in samples])
    assert plug_in == pytest.approx(19 * 63 / 40000, abs=0.0012)  # four standard deviations
    assert abs(np.mean([information.miller_madow(joint) for joint in samples])) < 0.0012


def test_counts_of_utterances():
    counts = information.utterance_counts(
        np.array([3, 0, 3, 1], np.int16), np.array([0, 0, 0, 2]), size=4
    )
    assert counts.tolist() == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 1, 0, 0]]


def simulate(*, hours: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Counts of codes in utterances, their speakers, and the true information in nats.

    The model is ours. A codeword's frequency is log-normal, and so is a speaker's preference for
    it. An utterance has frequencies of its own, drawn from a Dirichlet distribution around those of
    its speaker, so that its frames are not independent draws. Sizes: 251 speakers, 1024 codes,
    utterances of 7.6 s at 50 Hz. The three constants (1.0, 0.485, 180) were chosen so that the
    truth is 0.117 nats and the plug-in estimate on 5.4 hours is 0.456.
    """
    rng = np.random.default_rng(seed)
    common = np.exp(1.0 * rng.standard_normal(CODES))
    preferred = common * np.exp(0.485 * rng.standard_normal((SPEAKERS, CODES)))
    preferred /= preferred.sum(1, keepdims=True)
    speakers = np.arange(int(hours * 3600 * 50 / FRAMES)) % SPEAKERS
    own = rng.standard_gamma(180 * preferred.astype(np.float32)[speakers], dtype=np.float32)
    own = own / own.sum(1, keepdims=True, dtype=np.float64)
    counts = rng.multinomial(FRAMES, own).astype(np.int32)
    return counts, speakers, information.mutual_information(preferred)


@pytest.mark.parametrize("seed", [0, 1])
def test_estimates_on_simulated_speakers(seed):
    """5.4 hours: plug-in and Miller-Madow are three times the truth, which two others enclose.

    Over ten seeds the standard deviations are at most 0.003, so the bounds are where the constants
    of `simulate` put the means.
    """
    counts, speakers, truth = simulate(hours=5.4, seed=seed)
    found = information.speaker_information(counts, speakers, permutations=3, halves=3)
    assert truth == pytest.approx(0.117, abs=0.003)
    assert found.plug_in == pytest.approx(0.456, abs=0.01)
    assert found.miller_madow == pytest.approx(0.370, abs=0.01)
    assert found.permutation == pytest.approx(0.092, abs=0.006)
    assert found.permutation < truth < found.two_point < found.miller_madow < found.plug_in
    assert not found.agree
    assert found.entropy == pytest.approx(math.log(SPEAKERS), abs=1e-3)
    # Exchanging single frames between speakers removes only the error of independent frames.
    frames = np.random.default_rng(seed).multinomial(
        counts.sum() // SPEAKERS, counts.sum(0) / counts.sum(), size=SPEAKERS
    )
    by_frames = found.plug_in - information.mutual_information(frames)
    assert by_frames == pytest.approx(0.308, abs=0.01)


def test_fifty_hours_are_enough_for_simulated_speakers():
    counts, speakers, truth = simulate(hours=50, seed=0)
    found = information.speaker_information(counts, speakers, permutations=1, halves=1)
    assert found.permutation == pytest.approx(0.114, abs=0.004)
    assert found.permutation < truth < found.two_point and found.agree


def test_codes_that_ignore_speakers_have_no_information_by_permutation():
    counts, speakers, _ = simulate(hours=5.4, seed=0)
    counts, speakers = counts[:400], speakers[:400] % 4
    shuffled = np.random.default_rng(0).permutation(speakers)
    found = information.speaker_information(counts, shuffled, permutations=10, halves=2)
    assert found.plug_in > 0.01 and abs(found.permutation) < 0.002


def test_conditional_information_of_speakers():
    """Codes that only name the phone say nothing about the speaker, given the phone."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(4), 25)
    counts = np.zeros((100, 2, 2), np.int64)  # [utterances, phones, codes]
    share = 0.2 + 0.2 * speakers  # of the first phone, which is the first code
    counts[:, 0, 0] = rng.binomial(200, share)
    counts[:, 1, 1] = 200 - counts[:, 0, 0]
    assert information.speaker_information(counts.sum(1), speakers).permutation > 0.05
    found = information.speaker_information(counts, speakers)
    assert abs(found.plug_in) < 1e-9 and abs(found.permutation) < 1e-9


def test_too_few_utterances_are_refused():
    counts = np.ones((30, 4), int)
    information.speaker_information(counts, np.repeat(["a", "b", "c"], 10))
    with pytest.raises(UserError, match=r"30 utterances of 4 speakers.*give at least 10 of each"):
        information.speaker_information(counts, np.repeat(["a", "b", "c", "d"], [9, 9, 6, 6]))
    with pytest.raises(UserError, match="the fewest: 1"):
        information.speaker_information(counts, np.repeat(["a", "b"], [29, 1]))
    with pytest.raises(UserError, match="1 speakers"):
        information.speaker_information(counts, np.zeros(30))
