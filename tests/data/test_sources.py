"""Reading the clips of a manifest."""

import pickle

import numpy as np
import pytest
import soundfile

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


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_tempo_and_pitch(tmp_path, speed):
    tone = np.round(9000 * np.sin(2 * np.pi * 400 * np.arange(16000) / 16000)).astype(np.int16)
    soundfile.write(tmp_path / "tone.flac", tone, 16000)
    (tmp_path / "m.tsv").write_text("path\tsamples\tsample_rate\ntone.flac\t16000\t16000\n")
    (corpus,) = manifest.load_all(
        str(tmp_path / "m.tsv"), cache=str(tmp_path / "cache"), speeds=(speed,)
    )
    reader = pickle.loads(pickle.dumps(ClipReader(corpus, sample_rate=16000)))
    audio = reader.read(0, start=0, samples=99999)
    assert abs(len(audio) - 16000 / speed) <= 1 and len(audio) == corpus.lengths(16000)[0]
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 16000))
    assert spectrum.argmax() == round(400 * speed)  # Hz
    np.testing.assert_array_equal(reader.read(0, start=5000, samples=700), audio[5000:5700])
