"""A small flow-matching model learns, and its speech is decoded and scored."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.evaluation import codecs
from uniwav_jax.config import DecoderConfig
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import generation, speech_frames, systems

SMALL = generation.Probe(
    updates=60,
    rows=4,
    crop=0.5,
    lr=3e-3,
    decoder=DecoderConfig(layers=2, width=32, heads=2, ffn=48),
    steps=2,
)


@pytest.fixture(scope="module")
def mel():
    return systems.System("mel")


@pytest.fixture(scope="module")
def speech(mel, small_corpus):
    return speech_frames.read(mel, str(small_corpus / "manifest.tsv"))


@pytest.fixture(scope="module")
def trained(mel, speech):
    return generation.train(mel, speech, probe=SMALL)


def test_the_flow_loss_falls_and_is_below_that_of_zero_output(mel, trained, clip):
    assert len(trained.losses) == 60
    assert trained.losses[-10:].mean() < 0.8 * trained.losses[:5].mean()
    clips = [systems.Clip("a", clip, "go"), systems.Clip("b", clip[:30000], "go")]
    means, scores = generation.measure(mel, clips, codecs.jury(), trained, probe=SMALL)
    again, _ = generation.measure(mel, clips, codecs.jury(), trained, probe=SMALL)
    assert means == again  # nothing is left to chance
    loss, zero = means["flow_loss"], means["flow_loss_of_zero"]
    assert loss.low <= loss.mean <= loss.high < zero.low
    assert {"word_error", "mel_distance", "flow_loss"} <= set(means)
    assert set(scores) == {"a", "b"} and np.isfinite(scores["a"]["flow_loss"])


def test_another_seed_gives_another_model(mel, speech, trained):
    short = dataclasses.replace(SMALL, updates=2)
    losses = [generation.train(mel, speech, probe=short, seed=s).losses for s in (0, 0, 1)]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert abs(losses[0] - losses[2]).max() > 1e-4


def test_clips_shorter_than_a_crop_are_refused(mel, speech):
    with pytest.raises(UserError, match="as long as a crop, 99 s"):
        generation.train(mel, speech, probe=generation.Probe(crop=99.0))


def test_the_usual_model_has_two_and_a_half_million_parameters():
    params = jax.eval_shape(
        lambda key: generation.init(key, generation.Probe(), 64), jax.random.key(0)
    )
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert 2.4e6 < count < 2.7e6
