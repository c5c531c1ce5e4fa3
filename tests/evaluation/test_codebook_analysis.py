"""Measures against closed forms; labels against real TextGrids."""

import itertools
import math
import sys

import numpy as np
import pytest
import soundfile

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codebook_analysis as analysis
from uniwav_jax.text import textgrid

PHONES = np.repeat(["AA", "B", "CH", "D"], 250)


def test_perfect_code():
    codes = np.repeat([17, 3, 200, 5], 250)
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(1.0)


def test_independent_code():
    codes = np.tile(np.arange(5), 200)  # each phone meets each of the five codes 50 times
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
    """Phone shares 3/4 and 1/4, one code for half of the first phone, another for all else."""
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
    """Miller-Madow: independent variables show about (V-1)(P-1) / 2N nats of information."""
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


def test_frame_labels_at_centres():
    """At 50 per second centres lie at 10, 30, 50 ... ms; 50 ms is the second interval's start."""
    intervals = [(0.0, 0.05, "sil"), (0.05, 0.09, "AH"), (0.11, 0.13, "N")]
    labels = textgrid.frame_labels(intervals, 8, 50.0)
    assert labels.tolist() == ["sil", "sil", "AH", "AH", "sil", "N", "sil", "sil"]


def test_real_textgrids(speech_dir):
    grids = sorted((speech_dir / "alignments").glob("4088-158077-*.TextGrid"))[:5]
    assert len(grids) == 5
    for grid in grids:
        intervals = textgrid.phones(str(grid))
        audio = next((speech_dir / "librispeech").rglob(f"{grid.stem}.opus"))
        info = soundfile.info(audio)
        seconds = info.frames / info.samplerate
        assert intervals[0][0] == 0.0
        assert intervals[-1][1] == pytest.approx(seconds, abs=0.05)
        for before, after in itertools.pairwise(intervals):
            assert before[1] == after[0]
        # As many phones as the plain text of the file has stress-marked or bare ARPAbet labels.
        text = grid.read_text().split('name = "phones"')[1]
        marks = [line.split('"')[1] for line in text.splitlines() if "text =" in line]
        assert len(marks) == len(intervals)
        spoken = [phone for _, _, phone in intervals if phone != "sil"]
        assert len(spoken) == sum(mark not in ("", "sil", "sp", "spn") for mark in marks)
        assert all(phone.isalpha() and phone.isupper() for phone in spoken)
        # 50 labels a second; each interval covers its length to within one frame.
        labels = textgrid.frame_labels(intervals, round(seconds * 50), 50.0)
        for start, end, phone in intervals:
            here = labels[round(start * 50) : round(end * 50)]
            assert (here == phone).sum() >= len(here) - 2


def test_labels_line_up_with_the_sound(speech_dir):
    """Frames labelled silence are quieter than speech; labels reversed in time are not."""
    grid = speech_dir / "alignments" / "4088-158077-0000.TextGrid"
    audio, rate = soundfile.read(next(speech_dir.rglob(f"{grid.stem}.opus")), dtype="float64")
    frames = len(audio) * 50 // rate
    power = np.square(audio[: frames * rate // 50].reshape(frames, -1)).mean(1)
    level = 10 * np.log10(power + 1e-10)
    quiet = textgrid.frame_labels(textgrid.phones(str(grid)), frames, 50.0) == "sil"
    contrast = level[~quiet].mean() - level[quiet].mean()
    assert contrast > 15  # decibels
    assert contrast > 2 * (level[~quiet[::-1]].mean() - level[quiet[::-1]].mean())


def test_textgrid_errors(tmp_path, monkeypatch):
    broken = tmp_path / "broken.TextGrid"
    broken.write_text("not a TextGrid")
    with pytest.raises(UserError, match=r"broken\.TextGrid cannot be read"):
        textgrid.phones(str(broken))
    with pytest.raises(UserError, match=r"absent\.TextGrid cannot be read"):
        textgrid.phones(str(tmp_path / "absent.TextGrid"))
    words = tmp_path / "words.TextGrid"
    words.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
        "tiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n"
        '        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n'
        "        xmax = 1\n        intervals: size = 1\n        intervals [1]:\n"
        '            xmin = 0\n            xmax = 1\n            text = "war"\n'
    )
    with pytest.raises(UserError, match=r"no tier 'phones'.*words"):
        textgrid.phones(str(words))
    monkeypatch.setitem(sys.modules, "praatio", None)
    with pytest.raises(UserError, match="pip install"):
        textgrid.phones(str(words))
