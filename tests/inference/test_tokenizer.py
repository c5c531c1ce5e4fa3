"""Tokens and back with random weights: lengths, batches, windows, voices, damage."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.inference.test_speak import noisy
from tests.tasks import test_tokenizer as task_tests
from uniwav_jax import features as features_lib
from uniwav_jax.errors import UserError
from uniwav_jax.inference.tokenizer import Detokenizer, Source, Tokenizer
from uniwav_jax.inference.waveforms import Sampling
from uniwav_jax.tasks import tokenizer

HOP, RATE = 320, 16000
pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture(scope="module")
def pair():
    """A tokenizer and a detokenizer that share their random weights."""
    changes = {
        "features.kind": "log_mel",
        "flow.solver": "euler",
        "flow.sample_steps": 2,
        "data.buckets": (2.0,),
    }
    config = task_tests.make_config(changes)
    features = features_lib.build(config.features)
    params, state = jax.jit(lambda: tokenizer.init(jax.random.key(0), config, features.channels))()
    statistics = {
        name: np.full(features.channels, v, np.float32) for name, v in (("mean", -5), ("std", 2))
    }
    params = noisy({**params, "books": state["books"]})
    arrays = {"params": params, "features": statistics}
    coder = Tokenizer(config, arrays, features=features)
    return coder, Detokenizer(config, arrays, features)


@pytest.fixture(scope="module")
def tokens(pair, clip):
    ((_, found),) = pair[0].tokens([("a", [clip])])
    return found


def test_tokens_describe_their_clip(pair, tokens, clip):
    assert tokens.codes.shape == (-(-len(clip) // HOP), 2) and tokens.samples == len(clip)
    assert tokens.book_sizes == (16, 16) and tokens.frame_rate == 50
    assert tokens.model == pair[0].digest and len(np.unique(tokens.codes[:, 0])) > 3


def test_a_file_alone_is_the_same_as_among_others(pair, tokens, clip):
    """Exactly, whatever the batch and however the audio arrives."""
    blocks = np.split(clip, [100, 5000, 40001])
    files = [("b", [clip[:9000]]), ("a", blocks), ("c", [clip[::-1].copy()]), ("d", [])]
    found = dict(pair[0].tokens(files))
    np.testing.assert_array_equal(found["a"].codes, tokens.codes)
    assert found["b"].samples == 9000 and isinstance(found["d"], UserError)
    ((_, alone),) = pair[0].tokens([("b", [clip[:9000]])], few=True)
    np.testing.assert_array_equal(found["b"].codes, alone.codes)


def test_the_digest_is_of_all_that_codes_depend_on(pair):
    coder = pair[0]
    arrays = coder._arrays
    for part in ("encoder", "condition", "tokens", "books"):
        changed = jax.tree.map(lambda a: a + 1e-3, arrays["params"][part])
        params = {**arrays["params"], part: changed}
        other = Tokenizer(coder.config, {**arrays, "params": params}, features=coder.features)
        assert other.digest != coder.digest, part
    params = {**arrays["params"], "decoder": {}}
    other = Tokenizer(coder.config, {**arrays, "params": params}, features=coder.features)
    assert other.digest == coder.digest


def test_speech_has_the_samples_of_the_original(pair, tokens):
    speaker = pair[1]
    voice = np.ones((60, speaker.features.channels), np.float16)
    sources = [
        speaker.source(tokens),
        speaker.source(tokens, voice),
        speaker.source(tokens.first(1)),
    ]
    plain, voiced, single = speaker.speak(sources, Sampling())
    for wave in (plain, voiced, single):
        assert len(wave) == tokens.samples and np.isfinite(wave).all() and wave.std() > 0
    assert (plain != voiced).any() and (plain != single).any()
    (again,) = speaker.speak(sources[1:2], Sampling())
    np.testing.assert_allclose(again, voiced, atol=2e-4)
    (other,) = speaker.speak(sources[1:2], Sampling(seed=1))
    assert np.abs(other - voiced).max() > 1e-2


def test_features_alone_are_those_in_a_batch(pair, tokens):
    """Long clips are generated in windows; other clips, voices and padding do not matter."""
    speaker = pair[1]
    random = np.random.default_rng(0)
    z = random.standard_normal((333, 32)).astype(np.float32)
    voice = random.standard_normal((40, speaker.features.channels)).astype(np.float32)
    sources = [
        Source(np.tile(tokens.codes, (3, 1))[:700], 700 * HOP, voice),
        Source(None, 333 * HOP, z=z),
        Source(tokens.codes[:30], 30 * HOP, voice[:10]),
    ]
    together = speaker._features(sources, Sampling(seed=2))
    for source, expected in zip(sources, together, strict=True):
        (alone,) = speaker._features([source], Sampling(seed=2))
        assert alone.shape == (source.frames, speaker.features.channels)
        np.testing.assert_allclose(alone, expected, atol=2e-4)


def test_damaged_frames_are_silent(pair, tokens):
    speaker = pair[1]
    damaged = np.zeros(tokens.codes.shape, bool)
    damaged[20:60, 1] = True
    bad = dataclasses.replace(tokens, damaged=damaged)
    (wave,) = speaker.speak([speaker.source(bad)], Sampling())
    assert not wave[20 * HOP : 60 * HOP].any() and wave[60 * HOP :].std() > 0
    nothing = dataclasses.replace(tokens, damaged=np.ones(tokens.codes.shape, bool))
    assert not speaker.speak([speaker.source(nothing)], Sampling())[0].any()


def test_prompts_must_fit(pair, tokens, clip):
    speaker = pair[1]
    prompt = speaker.prompt(clip)
    assert prompt.dtype == np.float16 and len(prompt) == 150
    with pytest.raises(UserError, match="has 7 channels, this model 20"):
        speaker.source(tokens, np.zeros((5, 7)))
