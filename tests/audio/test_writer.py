"""Written samples equal the samples that were read; louder ones are clipped."""

import io

import numpy as np
import soundfile

from uniwav_jax.audio.reader import read_audio, read_blocks
from uniwav_jax.audio.writer import write_audio


def test_reading_and_writing_keeps_all_samples(file, tmp_path):
    path = str(tmp_path / "a.wav")
    blocks = read_blocks(str(file), sample_rate=16000)
    written = write_audio(path, blocks, sample_rate=16000)
    whole = read_audio(str(file))
    assert written == len(whole)
    np.testing.assert_array_equal(read_audio(path), whole)


def test_samples_are_rounded_and_clipped():
    file = io.BytesIO()
    blocks = [np.array([2.0, -2.0, 0.5]), np.array([1.4, -1.6]) / 32768]
    write_audio(file, blocks, sample_rate=8000)
    file.seek(0)
    audio, rate = soundfile.read(file, dtype="int16")
    assert rate == 8000 and audio.tolist() == [32767, -32768, 16384, 1, -2]
