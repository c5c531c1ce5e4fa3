"""Reading the clips of a manifest."""

import pickle

import numpy as np
import pytest

from uniwav_jax.audio.reader import BadAudioError, read_audio
from uniwav_jax.data import manifest
from uniwav_jax.data.sources import ClipReader


def test_clips_of_a_manifest(small_corpus, tmp_path):
    rows = manifest.load(str(small_corpus / "manifest.tsv"), cache=str(tmp_path))
    reader = pickle.loads(
        pickle.dumps(ClipReader(rows, sample_rate=16000))
    )  # reader processes get it pickled
    expected = read_audio(reader.name(3), start=1000, samples=500)
    np.testing.assert_array_equal(reader.read(3, start=1000, samples=500), expected)
    with pytest.raises(BadAudioError, match="ends before sample 999999"):
        reader.read(3, start=999999, samples=500)
