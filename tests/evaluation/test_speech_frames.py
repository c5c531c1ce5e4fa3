"""Frames of a manifest, normalised as in training."""

import numpy as np

from tests.evaluation import codecs
from uniwav_jax.evaluation import speech_frames, systems


def test_frames_have_zero_mean_and_unit_variance(small_corpus, tmp_path):
    codec = systems.System(codecs.save(tmp_path / "codec"))
    speech = speech_frames.read(codec, str(small_corpus / "manifest.tsv"), limit=4)
    read = speech_frames.make_read(codec, speech.params)
    found = []
    for batch, audio in zip(speech.clips.batches, speech.audio, strict=True):
        x_1xBxTxC, mask_BxT = map(np.asarray, read(batch))
        assert audio.shape[1] == x_1xBxTxC.shape[2] * 320  # without context
        found.append(x_1xBxTxC[0][mask_BxT])
    x_NxC = np.concatenate(found)
    assert len(x_NxC) == speech.clips.frames
    np.testing.assert_allclose(x_NxC.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(x_NxC.std(0), 1.0, atol=1e-3)


def test_statistics_of_other_speech_are_used(small_corpus):
    mel = systems.System("mel")
    params = {"mean": np.full(80, -3.0, np.float32), "std": np.full(80, 2.0, np.float32)}
    path = str(small_corpus / "manifest.tsv")
    assert speech_frames.read(mel, path, limit=2, params=params).params is params
    x_TxC = np.random.default_rng(0).normal(size=(5, 80)).astype(np.float32)
    there = speech_frames.normalise(x_TxC, params)
    np.testing.assert_allclose(there, (x_TxC + 3) / 2, rtol=1e-6)
    np.testing.assert_allclose(speech_frames.denormalise(there, params), x_TxC, atol=1e-6)
