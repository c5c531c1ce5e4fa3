"""Measures of decoded speech: best for identical audio, worse with noise, absent for silence."""

import sys
import types

import numpy as np
import pytest

from uniwav_jax.measures import signal


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


def test_other_rates_have_the_mel_distance_only(clip):
    assert set(signal.scores(clip, clip, sample_rate=24000)) == {"mel_distance"}


@pytest.fixture
def speech(clip):
    """Two seconds of the clip without pauses, and the same audio with noise."""
    reference = clip[16000:48000]
    noise = np.random.default_rng(0).normal(size=len(reference)).astype(np.float32)
    return reference, reference + 0.003 * noise


@pytest.mark.parametrize("seconds", [0.0001, 0.01, 0.2, 0.4])
def test_clips_too_short_to_score_are_left_out(speech, seconds):
    reference, decoded = (audio[: max(1, int(16000 * seconds))] for audio in speech)
    scores = signal.scores(reference, decoded, sample_rate=16000)
    assert np.isfinite(scores["mel_distance"])
    assert "stoi" not in scores
    if "pesq_wb" not in signal.missing():
        assert ("pesq_wb" in scores) == (seconds >= 0.25)


def test_the_shortest_clip_that_stoi_scores(speech):
    pytest.importorskip("pystoi")
    reference, decoded = (audio[: int(16000 * 0.42)] for audio in speech)
    assert signal.scores(reference, decoded, sample_rate=16000)["stoi"] > 0.8


def test_silence_is_left_out(speech):
    reference, decoded = speech
    silence = np.zeros_like(reference)
    for silent in (silence, silence + 0.01, silence + 1e-6):
        assert not {"stoi", "pesq_wb"} & set(signal.scores(silent, decoded, sample_rate=16000))
    mostly = np.where(np.arange(len(reference)) < 3000, reference, 0.0).astype(np.float32)
    assert "stoi" not in signal.scores(mostly, decoded, sample_rate=16000)
    scores = signal.scores(reference, silence, sample_rate=16000)  # as of a codec that fails
    assert "pesq_wb" not in scores
    if "stoi" not in signal.missing():
        assert scores["stoi"] == pytest.approx(0.0)


def test_means_count_the_clips_that_they_cover():
    clips = [{"stoi": 0.4, "a": 1.0}, {"stoi": 0.8}, {}]
    means = signal.means(clips, ["stoi", "a", "pesq_wb"])
    assert means["stoi"].mean == pytest.approx(0.6)
    assert means["stoi"].low == pytest.approx(0.4) and means["stoi"].high == pytest.approx(0.8)
    assert means["a"] == signal.Mean(1.0, None, None, 1, 3)  # one clip has no interval
    assert means["pesq_wb"] == signal.Mean(None, None, None, 0, 3)
    assert "0.600  (0.400 to 0.800, 2 of 3 clips)" in str(means["stoi"])
    assert "0 of 3 clips" in str(means["pesq_wb"]) and "nan" not in str(means["pesq_wb"])


@pytest.mark.parametrize("seconds", [3.0, 9.01, 9.02, 10.5, 11.99, 27.3])
def test_dnsmos_scores_all_of_a_clip(monkeypatch, seconds):
    given = []

    def run(sample: np.ndarray, sr: int) -> dict[str, float]:
        given.append(sample)
        return {"ovrl_mos": float(len(given))}

    dnsmos = types.SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "speechmos", types.SimpleNamespace(dnsmos=dnsmos))
    monkeypatch.setattr(signal, "missing", lambda: ["pesq_wb", "stoi"])
    samples = round(16000 * seconds)
    index = np.arange(samples) / samples
    scores = signal.scores(index, index, sample_rate=16000)
    covered = np.concatenate([np.round(window * samples).astype(int) for window in given])
    assert set(covered) == set(range(samples))
    assert {len(window) for window in given} == {144160}
    assert np.array_equal(given[-1], np.resize(index[-144160:], 144160))  # short ones are repeated
    assert scores["dnsmos_ovrl"] == pytest.approx(np.mean(np.arange(len(given)) + 1))
    signal.scores(index, 1.5 * index, sample_rate=16000)
    assert np.abs(given[-1]).max() == 1.0  # speechmos refuses louder samples


def test_dnsmos_with_noise_at_the_end_is_lower(clip):
    for package in ("speechmos", "librosa", "onnxruntime"):
        pytest.importorskip(package)
    whole = np.tile(clip, 3)[: int(10.5 * 16000)]
    ruined, tail = whole.copy(), int(1.4 * 16000)
    ruined[-tail:] = np.random.default_rng(0).uniform(-1.0, 1.0, tail)
    fine, worse = (
        signal.scores(audio, audio, sample_rate=16000)["dnsmos_ovrl"] for audio in (whole, ruined)
    )
    assert worse < fine - 0.2


def test_long_recordings_are_scored_in_pieces(speech, monkeypatch):
    """The pesq package has a limit of utterances; no piece is longer than 20 s or left out."""
    pesq = pytest.importorskip("pesq")
    lengths, score = [], pesq.pesq

    def recorded(rate, reference, decoded, mode):
        lengths.append(len(reference))
        return score(rate, reference, decoded, mode)

    monkeypatch.setattr(pesq, "pesq", recorded)
    long = [np.tile(audio, 25) for audio in speech]  # 50 s
    whole = signal.scores(*long, sample_rate=16000)["pesq_wb"]
    assert len(lengths) == 3 and max(lengths) <= 20 * 16000 and sum(lengths) == len(long[0])
    short = signal.scores(*speech, sample_rate=16000)["pesq_wb"]
    assert whole == pytest.approx(short, abs=0.3)


def test_clips_with_nan_or_without_samples_are_not_scored(speech):
    reference, decoded = speech
    broken = decoded.copy()
    broken[100] = np.nan
    assert signal.scores(reference, broken, sample_rate=16000) == {}
    assert signal.scores(reference[:0], decoded, sample_rate=16000) == {}
    assert signal.means([{}, {"stoi": 0.5}], ["stoi"])["stoi"].clips == 1
