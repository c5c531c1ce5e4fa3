"""dr_flac reads the same samples as libsndfile, which reads the files that dr_flac cannot."""

import numpy as np
import pytest
import soundfile

from uniwav_jax.audio import flac
from uniwav_jax.audio.reader import BadAudioError, read_audio


def test_dr_flac_reads_the_samples_of_libsndfile(file, libsndfile_only):
    if flac.lib is None:
        pytest.skip("no miniaudio on this machine: libsndfile reads FLAC")
    whole = flac.decode(file.read_bytes(), sample_rate=16000, longest=10**6)
    np.testing.assert_array_equal(whole, libsndfile_only(str(file)))
    for start, samples in ((0, 50000), (4321, 25000), (4321, 400), (30000, 25000)):
        options = {"start": start, "samples": samples}
        np.testing.assert_array_equal(
            read_audio(str(file), **options), libsndfile_only(str(file), **options)
        )
    assert flac.decode(file.read_bytes(), sample_rate=16000, longest=len(whole) - 1) is None
    assert flac.decode(file.read_bytes(), sample_rate=8000, longest=10**6) is None
    assert flac.decode(b"no audio", sample_rate=16000, longest=10**6) is None


@pytest.mark.parametrize("channels, subtype", [(2, "PCM_16"), (1, "PCM_24"), (1, "PCM_S8")])
def test_other_kinds_of_flac_go_to_libsndfile(file, tmp_path, libsndfile_only, channels, subtype):
    speech, _ = soundfile.read(file, dtype="float32")
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([speech] * channels, 1) * 0.7, 16000, subtype=subtype)
    assert flac.decode(path.read_bytes(), sample_rate=16000, longest=10**6) is None
    np.testing.assert_array_equal(read_audio(str(path)), libsndfile_only(str(path)))


def test_damaged_flac_is_read_by_libsndfile(file, tmp_path, libsndfile_only):
    """dr_flac skips damaged blocks without an error, which would shift the samples after them."""
    if flac.lib is None:
        pytest.skip("no miniaudio on this machine: libsndfile reads FLAC")
    good, path = file.read_bytes(), tmp_path / "a.flac"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for content in (bytes(flipped), good[: len(good) // 2], good[:5000] + good[7000:]):
        path.write_bytes(content)
        assert flac.decode(content, sample_rate=16000, longest=10**6) is None
        for options in ({}, {"start": 20000, "samples": 28000}):
            outcomes = []
            for read in (read_audio, libsndfile_only):
                try:
                    outcomes.append(read(str(path), **options).tolist())
                except BadAudioError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
