import numpy as np
import pytest
import soundfile
import soxr

from uniwav_jax.audio import flac
from uniwav_jax.data.sources import BadAudioError, read_audio


@pytest.fixture
def clip(small_corpus):
    return sorted(small_corpus.glob("*.flac"))[0]


def test_seeked_crop_equals_part_of_the_whole(clip, tmp_path):
    whole = read_audio(str(clip))
    expected, _ = soundfile.read(clip, dtype="int16")
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(
        read_audio(str(clip), start=12345, samples=777), whole[12345:13122]
    )
    assert len(read_audio(str(clip), start=len(whole) - 10, samples=777)) == 10


@pytest.mark.parametrize(
    "name, rate",
    [
        ("a.ogg", 44100),
        ("a.mp3", 22050),
        ("a.wav", 8000),
        ("a.opus", 48000),
        ("own_rate.opus", 16000),
        ("own_rate.ogg", 16000),
        ("own_rate.mp3", 16000),
        ("own_rate.wav", 16000),
        ("own_rate.flac", 16000),
    ],
)
def test_formats_rates_and_channels(clip, tmp_path, name, rate):
    """Stereo at another rate comes back as the mono speech that went in."""
    speech, _ = soundfile.read(clip, dtype="float32")
    other = soxr.resample(speech, 16000, rate)
    kind = {"opus": ("OGG", "OPUS")}.get(name.split(".")[1], (None, None))
    stereo = np.stack([other, other * 0.5], 1)
    soundfile.write(tmp_path / name, stereo, rate, format=kind[0], subtype=kind[1])
    whole = read_audio(str(tmp_path / name)).astype(float) / 32768
    assert abs(len(whole) - len(speech)) < 1200  # coders pad
    spectrum = [np.abs(np.fft.rfft(x[:40000]))[:9000] for x in (whole, 0.75 * speech)]
    assert np.corrcoef(*spectrum)[0, 1] > 0.95
    ratio = np.sqrt((whole[:40000] ** 2).mean() / (speech[:40000] ** 2).mean())
    assert 0.65 < ratio < 0.8  # mean of the channels
    part = read_audio(str(tmp_path / name), start=1000, samples=500)
    np.testing.assert_array_equal(part, read_audio(str(tmp_path / name))[1000:1500])


@pytest.fixture
def libsndfile_only(monkeypatch):
    """read_audio as it is without dr_flac."""

    def read(path, **options):
        with monkeypatch.context() as patch:
            patch.setattr(flac, "lib", None)
            return read_audio(path, **options)

    return read


def test_dr_flac_reads_the_samples_of_libsndfile(clip, libsndfile_only):
    if flac.lib is None:
        pytest.skip("no miniaudio on this machine: libsndfile reads FLAC")
    whole = flac.decode(clip.read_bytes(), sample_rate=16000, longest=10**6)
    np.testing.assert_array_equal(whole, libsndfile_only(str(clip)))
    for start, samples in ((0, 50000), (4321, 25000), (4321, 400), (30000, 25000)):
        options = {"start": start, "samples": samples}
        np.testing.assert_array_equal(
            read_audio(str(clip), **options), libsndfile_only(str(clip), **options)
        )
    assert flac.decode(clip.read_bytes(), sample_rate=16000, longest=len(whole) - 1) is None
    assert flac.decode(clip.read_bytes(), sample_rate=8000, longest=10**6) is None
    assert flac.decode(b"no audio", sample_rate=16000, longest=10**6) is None


@pytest.mark.parametrize("channels, subtype", [(2, "PCM_16"), (1, "PCM_24"), (1, "PCM_S8")])
def test_other_kinds_of_flac_go_to_libsndfile(clip, tmp_path, libsndfile_only, channels, subtype):
    speech, _ = soundfile.read(clip, dtype="float32")
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([speech] * channels, 1) * 0.7, 16000, subtype=subtype)
    assert flac.decode(path.read_bytes(), sample_rate=16000, longest=10**6) is None
    np.testing.assert_array_equal(read_audio(str(path)), libsndfile_only(str(path)))


def test_damaged_flac_is_what_libsndfile_says(clip, tmp_path, libsndfile_only):
    """dr_flac leaves damaged blocks out without a word; what follows would move."""
    if flac.lib is None:
        pytest.skip("no miniaudio on this machine: libsndfile reads FLAC")
    good, path = clip.read_bytes(), tmp_path / "a.flac"
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


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    soundfile.write(tmp_path / "l.wav", np.array([2.0, -2.0, 0.5]), 16000, subtype="FLOAT")
    assert read_audio(str(tmp_path / "l.wav")).tolist() == [32767, -32768, 16384]


def bad(tmp_path, kind):
    path = tmp_path / f"{kind}.wav"
    if kind == "broken":
        path.write_bytes(b"RIFFnothing here")
    elif kind == "empty":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    elif kind == "rate":
        soundfile.write(path, np.zeros(100), 8000)
    elif kind == "zero bytes":
        path.write_bytes(b"")
    return str(path)


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("missing", "does not exist"),
        ("broken", "cannot be decoded"),
        ("zero bytes", "cannot be decoded"),
        ("empty", "has no audio"),
        ("nan", "NaN"),
        ("rate", "sample rate 8000, the manifest says 16000"),
    ],
)
def test_unusable_files_say_why(tmp_path, kind, reason):
    with pytest.raises(BadAudioError, match=reason) as error:
        read_audio(bad(tmp_path, kind), expected_rate=16000)
    assert "\n" not in str(error.value)
