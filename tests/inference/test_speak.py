"""Speech synthesis with random weights: lengths, batches, prompts, durations."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.tasks import test_tts
from uniwav_jax import features as features_lib
from uniwav_jax.errors import UserError
from uniwav_jax.inference import speak, waveforms
from uniwav_jax.tasks import tts

SYMBOLS = "sil AA1_B IY0_E sil".split()
HOP, RATE = 320, 16000
pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture(scope="module")
def speaker():
    return make_speaker()


def make_speaker():
    """A speaker with random weights that knows the phones AA, IY and sil."""
    changes = {"features.kind": "log_mel", "flow.solver": "euler", "flow.sample_steps": 2}
    config = test_tts.make_config(changes)
    features = features_lib.build(config.features)
    params, _ = jax.jit(lambda: tts.init(jax.random.key(0), config, features.channels))()
    statistics = {
        name: np.full(features.channels, v, np.float32) for name, v in (("mean", -5), ("std", 2))
    }
    arrays = {"params": noisy(params), "features": statistics}
    return speak.Speaker(config, arrays, features)


def noisy(params):
    random = np.random.default_rng(0)
    return jax.tree.map(lambda a: a + 0.05 * random.standard_normal(a.shape).astype("f"), params)


@pytest.fixture(scope="module")
def voice(speaker, clip):
    return speaker.prompt(clip[: 2 * RATE].astype(np.float32))


def line(prompt, frames):
    return speak.Line(SYMBOLS, prompt, np.array(frames))


def test_the_length_is_exact_and_the_phones_are_timed(speaker, voice):
    (got,) = speaker.speak([line(voice, [5, 7, 11, 3])])
    assert len(got.wave) == 26 * HOP and np.isfinite(got.wave).all()
    starts, ends, symbols = zip(*got.phones)
    np.testing.assert_allclose(ends, np.array([5, 12, 23, 26]) / 50)
    assert symbols == tuple(SYMBOLS) and starts[1:] == ends[:-1]


def test_a_line_alone_is_the_same_as_in_a_batch(speaker, voice):
    """Other lines, padding and another prompt beside it do not matter."""
    lines = [
        line(voice, [5, 7, 11, 3]),
        line(speaker.no_prompt(), [9, 9, 90, 9]),
        line(voice, [2] * 4),
    ]
    together = speaker.speak(lines, speak.Settings(seed=3))
    for number, alone in enumerate(lines):
        (single,) = speaker.speak([alone], speak.Settings(seed=3))
        np.testing.assert_allclose(together[number].wave, single.wave, atol=2e-3)
    other = speaker.speak(lines[:1], speak.Settings(seed=4))[0]
    assert np.abs(other.wave - together[0].wave).max() > 1e-3


@pytest.mark.parametrize(("level", "factor"), [(0.2, 0.3), (0.03, 2.0), (0.001, 4.0), (0.0, 1.0)])
def test_generated_speech_is_as_loud_as_the_prompt(speaker, voice, monkeypatch, level, factor):
    noise = level * np.random.default_rng(0).standard_normal(40 * HOP).astype(np.float32)
    monkeypatch.setattr(speaker.waveforms, "audio", lambda x_TxC: noise[: len(x_TxC) * HOP])
    quiet = dataclasses.replace(voice, x_TxC=voice.x_TxC[:0], gain=2.0)
    latents = np.zeros((26, voice.x_TxC.shape[1]))
    got = speaker._speech(line(quiet, [5, 7, 11, 3]), np.array([5, 7, 11, 3]), latents)
    wanted = np.clip(factor * noise[: 26 * HOP] / 2.0, -1, 1)
    np.testing.assert_allclose(got.wave, wanted, rtol=0.05, atol=1e-6)


def test_durations_follow_speed_and_seconds(speaker, voice):
    plain = speaker.durations(speak.Line(SYMBOLS, voice))
    assert plain.shape == (4,) and plain.min() >= 1
    slow = speaker.durations(speak.Line(SYMBOLS, voice), speak.Settings(speed=0.25))
    assert slow[1:3].sum() > 3 * plain[1:3].sum() and slow[0] < 3 * plain[0]
    for seconds in (0.5, 1.0, 2.02):
        exact = speaker.durations(speak.Line(SYMBOLS, voice), speak.Settings(seconds=seconds))
        assert exact.sum() == round(50 * seconds)


def test_lengths_may_be_spread_evenly_or_come_from_characters(speaker, voice):
    text = speak.Line(SYMBOLS, voice, text="a" * 28)
    predicted = speaker.durations(text)
    even = speaker.durations(text, speak.Settings(durations="even"))
    assert even.sum() == predicted.sum() and even.max() - even.min() <= 1
    settings = speak.Settings(durations="characters", speed=2.0)
    assert speaker.durations(text, settings).tolist() == [13, 13, 12, 12], "1 s"
    known = dataclasses.replace(voice, text="b" * 7)
    slow = speaker.durations(dataclasses.replace(text, prompt=known), settings)
    assert slow.sum() == pytest.approx(2 * len(voice.x_TxC), abs=1)
    with pytest.raises(UserError, match="need the text of the line"):
        speaker.durations(speak.Line(SYMBOLS, voice), settings)


def test_a_model_without_durations(speaker, voice, monkeypatch):
    params = {n: v for n, v in speaker._arrays["params"].items() if n != "durations"}
    monkeypatch.setitem(speaker._arrays, "params", params)
    text = speak.Line(SYMBOLS, voice, text="a" * 28)
    assert speaker.durations(text).tolist() == [25] * 4
    with pytest.raises(UserError, match="trained without durations"):
        speaker.durations(text, speak.Settings(durations="model"))


def test_prompts_are_trimmed_and_scaled(speaker, clip):
    speech = clip[: 2 * RATE].astype(np.float32)
    first = speaker.prompt(speech)
    padded = np.concatenate([np.zeros(RATE, "f"), 0.1 * speech, np.zeros(RATE, "f")])
    second = speaker.prompt(padded)
    assert abs(len(first.x_TxC) - len(second.x_TxC)) <= 2 * waveforms.KEPT_SILENCE * 50 + 2
    assert second.gain == pytest.approx(10 * first.gain, rel=0.2)
    long = speaker.prompt(np.tile(speech, 20))
    assert len(long.x_TxC) == speak.LONGEST * 50


def test_phones_of_a_prompt_are_cut_with_it(speaker, clip):
    speech = clip[: 2 * RATE].astype(np.float32)
    quiet = np.concatenate([np.zeros(RATE, "f"), speech])
    phones = [(0.0, 1.0, "sil"), (1.0, 1.5, "AA1_B"), (1.5, 3.0, "IY0_E")]
    prompt = speaker.prompt(quiet, phones)
    assert len(prompt.phones) == len(prompt.ends) and prompt.ends[-1] == len(prompt.x_TxC)
    assert (np.diff(prompt.ends) >= 0).all()
    start = 3.0 - len(prompt.x_TxC) / 50  # what was cut
    assert prompt.ends[-2] / 50 + start == pytest.approx(1.5, abs=0.21)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.full(RATE // 10, 0.1, np.float32), r"0\.10 s of speech; at least 0\.5 s"),
        (np.zeros(0, np.float32), "silent"),
    ],
)
def test_bad_prompts(speaker, audio, message):
    with pytest.raises(UserError, match=message):
        speaker.prompt(audio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 9.0}, "speed"),
        ({"durations": "odd"}, "durations must be one of model, even"),
        ({"seconds": -1.0}, "seconds"),
        ({"temperature": 0.0}, "temper"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        speak.Settings(**options)


def test_phones_that_the_model_does_not_know(speaker, voice):
    with pytest.raises(UserError, match="no phone ZH"):
        speaker.durations(speak.Line(["sil", "ZH_S"], voice))
    with pytest.raises(UserError, match="nothing to speak"):
        speaker.durations(speak.Line([], voice))


def test_shares_add_up():
    random = np.random.default_rng(0)
    for _ in range(200):
        weights = random.exponential(size=random.integers(1, 30)) + 1e-3
        total = int(random.integers(len(weights), 500))
        shares = speak.shared_out(weights, total)
        assert shares.sum() == total and shares.min() >= 1
    np.testing.assert_array_equal(speak.shared_out(np.array([1.0, 2.0, 3.0]), 600), [100, 200, 300])
    np.testing.assert_array_equal(speak.evenly(4, 10), [3, 3, 2, 2])
