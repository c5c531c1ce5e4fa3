"""Training and inference read the same samples from any kind of file, whole or in part."""

import numpy as np
import pytest
import soundfile
import soxr

from uniwav_jax.audio import reader
from uniwav_jax.audio.reader import BadAudioError, read_audio, read_blocks
from uniwav_jax.errors import UserError

# (ending, format, subtype)
KINDS = {
    "wav": ("wav", None, "PCM_16"),
    "float wav": ("wav", None, "FLOAT"),
    "flac": ("flac", None, "PCM_16"),
    "24-bit flac": ("flac", None, "PCM_24"),
    "ogg": ("ogg", None, None),
    "opus": ("opus", "OGG", "OPUS"),
    "mp3": ("mp3", None, None),
}


@pytest.fixture(scope="module")
def written(file, tmp_path_factory):
    """A function that writes the clip as (kind, rate, channels); the second channel is quieter."""
    speech, _ = soundfile.read(file, dtype="float32")
    folder = tmp_path_factory.mktemp("kinds")

    def write(kind, rate, channels):
        ending, form, subtype = KINDS[kind]
        audio = soxr.resample(speech, 16000, rate)
        path = folder / f"{rate}_{channels}.{ending}"
        tracks = np.stack([audio, audio * 0.5][:channels], 1)
        soundfile.write(path, tracks, rate, format=form, subtype=subtype)
        return str(path)

    return write


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 8000, 24000, 44100, 48000])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_crops_are_parts_of_the_whole(written, monkeypatch, kind, rate, channels):
    if kind == "opus" and rate == 44100:
        return  # Opus has no such rate
    path = written(kind, rate, channels)
    whole = read_audio(path)
    assert whole.dtype == np.int16 and len(whole) > 31000
    np.testing.assert_array_equal(read_audio(path, start=1000, samples=500), whole[1000:1500])
    monkeypatch.setattr(reader, "BLOCK", 7777)  # several blocks, like a long file
    blocks = list(read_blocks(path, sample_rate=16000))
    assert len(blocks) > 2 and {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(blocks), whole.astype(np.float32) / 32768)
    np.testing.assert_array_equal(read_audio(path), whole)
    np.testing.assert_array_equal(read_audio(path, start=1000, samples=9000), whole[1000:10000])


def test_files_of_whole_blocks(file, monkeypatch):
    """The length is a multiple of the block, so the last block is empty."""
    whole = read_audio(str(file))
    for rate in (16000, 24000):
        monkeypatch.setattr(reader, "BLOCK", len(whole) // 3)
        blocks = list(read_blocks(str(file), sample_rate=rate))
        expected = read_audio(str(file), sample_rate=rate)
        np.testing.assert_array_equal(np.concatenate(blocks) * 32768, expected)


@pytest.mark.parametrize(
    ("kind", "rate"), [("ogg", 44100), ("mp3", 22050), ("wav", 8000), ("opus", 48000)]
)
def test_other_formats_are_read_as_the_same_speech(file, written, kind, rate):
    """Stereo at another rate is read as mono at 16 kHz, the mean of the channels."""
    speech, _ = soundfile.read(file, dtype="float32")
    whole = read_audio(written(kind, rate, 2)).astype(float) / 32768
    assert abs(len(whole) - len(speech)) < 1200  # lossy formats add padding
    spectrum = [np.abs(np.fft.rfft(x[:30000]))[:7000] for x in (whole, 0.75 * speech)]
    assert np.corrcoef(*spectrum)[0, 1] > 0.95
    ratio = np.sqrt((whole[:30000] ** 2).mean() / (speech[:30000] ** 2).mean())
    assert 0.65 < ratio < 0.8


def test_stored_samples_are_read_exactly(file):
    whole = read_audio(str(file))
    expected, _ = soundfile.read(file, dtype="int16")
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(
        read_audio(str(file), start=12345, samples=777), whole[12345:13122]
    )
    assert len(read_audio(str(file), start=len(whole) - 10, samples=777)) == 10


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
def test_unusable_files_are_errors_with_a_reason(tmp_path, kind, reason):
    with pytest.raises(BadAudioError, match=reason) as error:
        read_audio(bad(tmp_path, kind), expected_rate=16000)
    assert "\n" not in str(error.value)
    if kind != "rate":  # inference accepts any rate
        path = bad(tmp_path, kind)
        with pytest.raises(UserError, match=reason) as error:
            list(read_blocks(path, sample_rate=16000))
        assert str(error.value).startswith(path) and "\n" not in str(error.value)
