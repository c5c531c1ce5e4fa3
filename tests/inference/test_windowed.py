"""A model with random weights on audio of any length: windows, batches, order of files."""

import numpy as np
import pytest

import uniwav_jax
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax.errors import UserError
from uniwav_jax.inference import representations


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    buckets = {"data__buckets": (2.0, 3.0)}
    return uniwav_jax.load(make(tmp_path_factory.mktemp("asr"), task="asr", **SMALL | buckets))


@pytest.fixture(scope="module")
def recognizer(model):
    return model.recognizer


def test_windows_are_computed_independently(recognizer):
    """A frame is the same as if its window were the whole file; a short file is one window."""
    random = np.random.default_rng(0)
    audio = random.uniform(-0.3, 0.3, 16000 * 11 + 77).astype(np.float32)
    ((_, whole),) = recognizer.run([("a", [audio])])
    assert len(whole) == -(-len(audio) // 320)
    blocks = np.split(audio, [5, 40000, 40001])
    ((_, again),) = recognizer.run([("a", blocks)])
    np.testing.assert_array_equal(whole, again)
    # Windows have 150 frames (the longest bucket), and neighbours overlap by 2 x 37 frames.
    second = audio[76 * 320 : 226 * 320]
    ((_, alone),) = recognizer.run([("b", [second])])
    np.testing.assert_allclose(whole[76 + 37 : 226 - 37], alone[37:-37], atol=1e-4)


def test_files_are_computed_independently(recognizer):
    random = np.random.default_rng(1)
    files = [random.uniform(-0.3, 0.3, n).astype(np.float32) for n in (9000, 90000, 400)]
    together = dict(recognizer.run(enumerate([f] for f in files)))
    for number, audio in enumerate(files):
        ((_, alone),) = recognizer.run([(0, [audio])])
        np.testing.assert_allclose(together[number], alone, atol=1e-4)


def test_small_batches_have_the_same_results(recognizer):
    random = np.random.default_rng(2)
    for samples in (9000, 16000 * 11):
        audio = random.uniform(-0.3, 0.3, samples).astype(np.float32)
        ((_, usual),) = recognizer.run([(0, [audio])])
        ((_, few),) = recognizer.run([(0, [audio])], few=True)
        np.testing.assert_allclose(few, usual, atol=1e-4)


def test_results_and_errors_are_in_the_order_of_files(recognizer):
    def broken():
        yield np.zeros(16000 * 4, np.float32)
        raise UserError("damaged")

    long, short = np.zeros(16000 * 300, np.float32), np.zeros(5000, np.float32)
    files = [("a", [short]), ("b", broken()), ("c", [long]), ("d", []), ("e", [short])]
    names, results = zip(*recognizer.run(files))
    assert names == tuple("abcde")
    assert len(results[2]) == 300 * 50 and len(results[4]) == 16
    np.testing.assert_array_equal(results[0], results[4])
    assert [str(results[i]) for i in (1, 3)] == ["damaged", "no audio"]


def test_all_results_of_a_model_are_cut_and_joined(model):
    encoder = representations.Encoder(model.config, model._arrays)
    audio = np.random.default_rng(3).uniform(-0.3, 0.3, 16000 * 7).astype(np.float32)
    ((_, found),) = encoder.run([(0, [audio])])
    assert found["states"].shape == (350, 3, 32) and set(found) == {"states"}
    ((_, last),) = model.extractor(2).run([(0, [audio])])
    np.testing.assert_allclose(found["states"][:, 2], last[:, 0], atol=1e-5)


def test_a_window_has_a_minimum_length(model):
    with pytest.raises(UserError, match="4 frames are the least"):
        model.extractor(0, window=0.05)
