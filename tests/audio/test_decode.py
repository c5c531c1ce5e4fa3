"""Every decoder reads a file to its real end; PyAV is the reference."""

import contextlib
import io
import pathlib
import struct

import av
import numpy as np
import pytest
import soundfile
import soxr

from tests.data.test_convert import encode
from uniwav_jax.audio import decode
from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.reader import measure, read_audio, read_blocks
from uniwav_jax.cli import shortcut
from uniwav_jax.data import check
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data.sources import ClipReader
from uniwav_jax.errors import UserError

RATE = 16000


def reference(path: str) -> tuple[np.ndarray, int]:
    """All samples that FFmpeg decodes, float [n, channels], and their rate.

    It needs the sizes that a killed recorder has not written.
    """
    content = pathlib.Path(path).read_bytes()
    if content[12:16] == b"ds64":
        content = content[:20] + struct.pack("<3Q", len(content), len(content), 0) + content[44:]
    with av.open(io.BytesIO(content)) as container:
        to_float = av.AudioResampler(format="fltp")
        frames = []
        for packet in container.demux(audio=0):
            with contextlib.suppress(av.InvalidDataError):  # a header between two joined files
                frames += [b for f in packet.decode() for b in to_float.resample(f)]
    return np.concatenate([f.to_ndarray() for f in frames], 1).T, frames[0].sample_rate


@pytest.fixture(scope="module")
def written(clip, tmp_path_factory):
    """{kind: path} of the same five seconds, in ways in which real files are unusual."""
    folder, kinds = tmp_path_factory.mktemp("kinds"), {}
    plain = io.BytesIO()
    soundfile.write(plain, clip, RATE, format="WAV", subtype="PCM_16")
    content = plain.getvalue()
    size = content.index(b"data") + 4

    def add(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        kinds[name] = str(folder / name)

    add("cut off.wav", content[: int(0.6 * len(content))])
    zeros = bytearray(content)
    zeros[4:8] = zeros[size : size + 4] = bytes(4)
    add("killed recorder.wav", bytes(zeros))
    zeros[4:8] = zeros[size : size + 4] = b"\xff" * 4
    add("streamed.wav", bytes(zeros))
    large = io.BytesIO()
    soundfile.write(large, clip, RATE, format="RF64", subtype="PCM_16")
    for kind, stated in (("RF64", bytes(24)), ("RF64", b"\xff" * 24), ("BW64", bytes(24))):
        killed = large.getvalue()
        add(f"killed {kind} {stated[0]}.wav", kind.encode() + killed[4:20] + stated + killed[44:])
    for name, subtype in (("gsm", "GSM610"), ("adpcm", "IMA_ADPCM"), ("ulaw", "ULAW")):
        rate = 8000 if subtype == "GSM610" else RATE
        soundfile.write(folder / f"{name}.wav", soxr.resample(clip, RATE, rate), rate, subtype)
        kinds[f"{name}.wav"] = str(folder / f"{name}.wav")
    for name, subtype in (("opus", "OPUS"), ("ogg", "VORBIS")):
        file = io.BytesIO()
        soundfile.write(file, clip, RATE, format="OGG", subtype=subtype)
        add(f"one.{name}", file.getvalue())
        add(f"chained.{name}", 2 * file.getvalue())
    whole = (32767 * clip).astype(np.int16)[None]
    encode(folder / "full.mp3", whole, RATE, "libmp3lame", "mp3")
    data = (folder / "full.mp3").read_bytes()
    kinds["full.mp3"] = str(folder / "full.mp3")
    add("two.mp3", 2 * data)
    # Silence is coded in smaller frames than speech: without a Xing header their number is a guess.
    mixed = np.concatenate([whole, np.zeros((1, 20 * RATE), np.int16), whole], 1)
    with av.open(str(folder / "vbr.mp3"), "w", format="mp3", options={"write_xing": "0"}) as file:
        variable = {"global_quality": "472", "flags": "+qscale"}
        stream = file.add_stream("libmp3lame", rate=RATE, layout="mono", options=variable)
        frame = av.AudioFrame.from_ndarray(mixed, "s16", "mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    kinds["vbr.mp3"] = str(folder / "vbr.mp3")
    encode(folder / "a.m4a", whole, RATE, "aac", "mp4")
    kinds["a.m4a"] = str(folder / "a.m4a")
    for name in ("a.au", "a.aiff", "a.caf"):
        soundfile.write(folder / name, clip, RATE)
        kinds[name] = str(folder / name)
    loud = io.BytesIO()
    soundfile.write(loud, 3 * clip, RATE, format="WAV", subtype="FLOAT")
    add("loud float.wav", loud.getvalue())
    piped = io.BytesIO()
    soundfile.write(piped, clip, RATE, format="FLAC")
    header = bytearray(piped.getvalue())
    header[21] &= 0xF0  # the number of samples is 0: unknown, as of a file written to a pipe
    header[22:26] = bytes(4)
    add("piped.flac", bytes(header))
    header[22:26] = (20000).to_bytes(4, "big")  # a cut file, or one of two that were joined
    add("more than it says.flac", bytes(header))
    header[22:26] = (200000).to_bytes(4, "big")
    add("less than it says.flac", bytes(header))
    add("with a tag behind.flac", piped.getvalue() + b"TAG" + bytes(125))
    au = io.BytesIO()
    soundfile.write(au, clip, RATE, format="AU")
    add("more than it says.au", au.getvalue()[:8] + bytes([0, 0, 8, 0]) + au.getvalue()[12:])
    picture = np.random.default_rng(0).bytes(300000)
    size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\0\0" + size + picture
    add("two with pictures.mp3", 2 * (tag + data))
    encode(folder / "sound.avi", whole, RATE, "libmp3lame", "avi")
    kinds["sound.avi"] = str(folder / "sound.avi")
    return kinds


def test_every_command_sees_the_same_audio(written, tmp_path):
    """`uniwav data manifest` and `check`, training's reader, and inference's."""
    folder = tmp_path / "speech"
    folder.mkdir()
    for name, path in written.items():
        (folder / name).symlink_to(path)
    manifest = folder / "manifest.tsv"
    assert shortcut("data", "manifest")([str(folder), "--out", str(manifest)]) == 0
    corpus = manifest_lib.load(str(manifest), cache=str(tmp_path))
    assert sorted(corpus.name(row) for row in range(len(corpus))) == sorted(written)
    reader = ClipReader(corpus, sample_rate=RATE)
    for row in range(len(corpus)):
        name = corpus.name(row)
        wanted, rate = reference(written[name])
        if name.startswith("one."):  # plain Ogg, which libsndfile decodes, Opus at its own rate
            wanted, rate = soundfile.read(written[name], always_2d=True, dtype="float32")
        assert (corpus.samples[row], corpus.sample_rate[row]) == (len(wanted), rate), name
        found = check.check_clip(corpus, row)
        assert not set(found.problems) & {"broken", "length_mismatch", "rate_mismatch"}, name
        assert found.seconds == len(wanted) / rate
        trained = reader.read(row, start=0, samples=10**9)
        inferred = np.concatenate(list(read_blocks(written[name], sample_rate=RATE)))
        np.testing.assert_array_equal(trained, inferred * 32768)
        if rate == RATE:
            clipped = np.clip(np.round(wanted[:, 0] * 32768.0), -32768, 32767)
            np.testing.assert_array_equal(trained, clipped, err_msg=name)
        middle = reader.read(row, start=7001, samples=900)
        np.testing.assert_array_equal(middle, trained[7001:7901])


# (suffix, container, encoding, rates) of random files
KINDS = [
    *((".wav", "WAV", e, (8000, 16000, 22050, 48000)) for e in ("PCM_16", "PCM_24", "FLOAT")),
    *((".wav", "WAV", e, (8000, 16000)) for e in ("ULAW", "PCM_U8", "MS_ADPCM")),
    *((".flac", "FLAC", e, (16000, 44100)) for e in ("PCM_16", "PCM_24")),
    (".aiff", "AIFF", "PCM_16", (11025, 16000)),
    (".au", "AU", "PCM_16", (16000,)),
    (".caf", "CAF", "FLOAT", (16000, 32000)),
    (".w64", "W64", "PCM_16", (16000,)),
    (".ogg", "OGG", "VORBIS", (16000, 44100)),
    (".opus", "OGG", "OPUS", (16000, 48000)),
    (".mp3", "MP3", "MPEG_LAYER_III", (16000, 44100)),
]


def test_views_of_random_files_agree(clip, tmp_path):
    """Manifest, check, training, inference and packed records; two files of each kind."""
    random = np.random.default_rng(0)
    for number, (suffix, container, encoding, rates) in enumerate(2 * KINDS):
        rate, channels = int(random.choice(rates)), int(random.integers(1, 3))
        first, count = random.integers(0, len(clip) // 2), random.integers(800, len(clip) // 2)
        audio = np.stack([clip[first : first + count] * gain for gain in (1.0, 0.5)[:channels]], 1)
        path = tmp_path / "in" / f"{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, audio, rate, encoding, format=container)
    manifest, packed = tmp_path / "in" / "m.tsv", tmp_path / "packed"
    assert shortcut("data", "manifest")([str(path.parent), "--out", str(manifest)]) == 0
    assert shortcut("data", "pack")([str(manifest), "--out", str(packed)]) == 0
    corpus, records = (
        manifest_lib.load(str(source), cache=str(tmp_path)) for source in (manifest, packed)
    )
    assert len(corpus) == len(records) == 2 * len(KINDS)
    reader, reader_of_records = (ClipReader(c, sample_rate=RATE) for c in (corpus, records))
    for row in range(len(corpus)):
        name = corpus.name(row)
        found = check.check_clip(corpus, row)
        assert not set(found.problems) & {"broken", "length_mismatch", "rate_mismatch"}, name
        whole = reader.read(row, start=0, samples=10**9)
        assert abs(len(whole) - corpus.lengths(RATE)[row]) <= 1, name
        blocks = list(read_blocks(corpus.path(row), sample_rate=RATE))
        np.testing.assert_array_equal(np.concatenate(blocks) * 32768, whole, err_msg=name)
        start, length = sorted(random.integers(0, len(whole), 2))
        part = reader.read(row, start=start, samples=length + 1)
        np.testing.assert_array_equal(part, whole[start : start + length + 1], err_msg=name)
        record = reader_of_records.read(row, start=0, samples=10**9)
        np.testing.assert_array_equal(record, whole, err_msg=name)


def test_lengths_are_not_believed(written, clip):
    """libsndfile 1.2.2 says less of these, without an error."""
    assert measure(written["chained.ogg"])[0] > 1.9 * len(clip)
    assert measure(written["chained.opus"])[0] > 1.9 * 3 * len(clip)  # at 48 kHz
    assert measure(written["two.mp3"])[0] > 1.9 * len(clip)
    assert measure(written["vbr.mp3"])[0] >= 20 * RATE + 2 * len(clip)
    assert soundfile.info(written["vbr.mp3"]).frames < 0.9 * measure(written["vbr.mp3"])[0]
    for name in ("killed recorder.wav", "killed RF64 0.wav", "killed RF64 255.wav"):
        assert measure(written[name])[0] == len(clip)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "cannot be decoded: it has 0 bytes"),
        (b"not audio", "cannot be decoded"),
        (bytes(4000), "cannot be decoded"),
    ],
)
def test_what_is_not_audio(tmp_path, content, message):
    path = tmp_path / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadAudioError, match=message) as error:
        measure(str(path))
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"x\.wav"):
        list(read_blocks(str(path), sample_rate=RATE))


def test_opus_of_other_programs_starts_at_its_beginning(clip, tmp_path):
    """libsndfile 1.2.2 reads samples from before the beginning if it has not sought to it."""
    path = tmp_path / "x.opus"
    encode(path, (32767 * np.stack([clip, clip])).astype(np.int16), 48000, "libopus", "ogg")
    wanted, rate = reference(str(path))
    audio = read_audio(str(path), sample_rate=rate)
    assert len(audio) == len(wanted)
    wanted = 32768 * wanted.mean(1)  # of another decoder, so only nearly equal
    assert np.linalg.norm(audio - wanted) < 0.02 * np.linalg.norm(wanted)


def test_advice_on_what_cannot_be_read(clip, tmp_path):
    """Every reader refuses the same files, and says what to do."""
    flac, long = io.BytesIO(), io.BytesIO()
    soundfile.write(flac, clip, RATE, format="FLAC")
    soundfile.write(long, np.tile(clip, 40), RATE, format="FLAC")
    for content, advice in (
        (b"", "copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (2 * flac.getvalue(), "convert it again"),
        (flac.getvalue()[:-9000], "convert it again"),
        (long.getvalue()[:-9000], "convert it again"),
    ):
        path = tmp_path / "x.flac"
        path.write_bytes(content)
        with pytest.raises(BadAudioError, match=advice):
            read_audio(str(path))
        with pytest.raises(UserError, match=advice):
            list(read_blocks(str(path), sample_rate=RATE))


def test_a_header_without_samples(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(0), RATE)
    with pytest.raises(BadAudioError, match="has no audio"):
        measure(str(tmp_path / "x.wav"))


def test_remote_files(written, monkeypatch):
    """The content is read at once; decoders need not seek in a bucket."""
    monkeypatch.setattr(decode, "read_bytes", lambda path: pathlib.Path(path[5:]).read_bytes())
    for name in ("chained.ogg", "gsm.wav", "killed recorder.wav", "killed BW64 0.wav"):
        np.testing.assert_array_equal(
            read_audio(f"gs://{written[name]}"), read_audio(written[name])
        )
