"""Conversion of real G.722, AAC and plain files, with equal audio, lengths and texts."""

import gzip
import os
import pathlib
import shutil

import av
import numpy as np
import pytest
import soundfile
import soxr

from uniwav_jax import cli
from uniwav_jax.errors import UserError


def main(arguments: list[str]) -> int:
    """`uniwav data convert FOLDER --out OUT ...`."""
    folder, out, *options = arguments
    return cli.main(["data", "convert", folder, "--out", out, *options])


def encode(path: pathlib.Path, audio: np.ndarray, rate: int, codec: str, container: str) -> None:
    """Write int16 [channels, samples] with FFmpeg."""
    layout = "mono" if len(audio) == 1 else "stereo"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(audio.T.reshape(1, -1).copy(), "s16", layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def best_match(audio: np.ndarray, original: np.ndarray, shifts: int = 3000) -> float:
    """Highest correlation of the two over delays, because codecs insert samples at the start."""
    n = 2 ** int(np.ceil(np.log2(len(audio) + len(original))))
    cross = np.fft.irfft(np.fft.rfft(audio, n) * np.conj(np.fft.rfft(original, n)))
    peak = np.concatenate([cross[:shifts], cross[-shifts:]]).max()
    return peak / (np.linalg.norm(audio) * np.linalg.norm(original))


@pytest.fixture(scope="module")
def clip(small_corpus) -> np.ndarray:
    """About 3 s of speech, int16 at 16 kHz."""
    longest = max(small_corpus.glob("*.flac"), key=lambda path: soundfile.info(path).frames)
    return soundfile.read(longest, dtype="int16")[0]


@pytest.fixture
def folder(clip, tmp_path) -> pathlib.Path:
    folder = tmp_path / "in"
    (folder / "digits").mkdir(parents=True)
    encode(folder / "hello.g722", clip[None], 16000, "g722", "g722")
    fast = soxr.resample(clip, 16000, 44100)
    encode(folder / "digits" / "one.m4a", np.stack([fast, fast]), 44100, "aac", "mp4")
    soundfile.write(folder / "exact.wav", clip, 16000)
    return folder


def test_formats(folder, clip, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folder), str(out)]) == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "digits/one.flac",
        "exact.flac",
        "hello.flac",
    ]
    for path in out.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    exact, _ = soundfile.read(out / "exact.flac", dtype="int16")
    np.testing.assert_array_equal(exact, clip)
    hello, _ = soundfile.read(out / "hello.flac")
    assert abs(len(hello) - len(clip)) <= 2
    assert best_match(hello, clip / 32768) > 0.99
    one, _ = soundfile.read(out / "digits" / "one.flac")
    assert len(one) == pytest.approx(len(clip), abs=1500)  # AAC pads its ends
    assert best_match(one, clip / 32768) > 0.98  # a delay of a fraction of a sample remains
    assert "3 converted, 0 up to date, 0 failed" in capsys.readouterr().out


def test_channels_are_averaged(clip, tmp_path):
    (tmp_path / "in").mkdir()
    pair = np.stack([clip // 2, -(clip // 4)], 1)
    soundfile.write(tmp_path / "in" / "a.wav", pair, 16000)
    main([str(tmp_path / "in"), str(tmp_path / "out")])
    mono, _ = soundfile.read(tmp_path / "out" / "a.flac", dtype="int16")
    assert np.abs(mono - pair.mean(1)).max() <= 1


def test_resampling_keeps_the_end(clip, tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", clip, 44100)
    main([str(tmp_path / "in"), str(tmp_path / "out")])
    audio, _ = soundfile.read(tmp_path / "out" / "a.flac")
    expected = soxr.resample(clip / 32768, 44100, 16000)
    np.testing.assert_allclose(audio, expected, atol=2 / 32768)


def test_second_run_converts_only_changed_files(folder, tmp_path, capsys):
    out = tmp_path / "out"
    main([str(folder), str(out)])
    before = (out / "hello.flac").stat().st_mtime_ns
    newer = (out / "exact.flac").stat().st_mtime + 10
    os.utime(folder / "exact.wav", (newer, newer))
    main([str(folder), str(out)])
    assert (out / "hello.flac").stat().st_mtime_ns == before
    assert "1 converted, 2 up to date, 0 failed" in capsys.readouterr().out


def test_failures_are_listed_and_leave_no_files(folder, tmp_path, capsys):
    out = tmp_path / "out"
    (folder / "junk.m4a").write_bytes(b"junk" * 100)
    (folder / "empty.g722").write_bytes(b"")
    assert main([str(folder), str(out)]) == 0
    printed = capsys.readouterr()
    assert "3 converted, 0 up to date, 2 failed" in printed.out
    assert "junk.m4a" in printed.err and "empty.g722" in printed.err
    assert len((out / "failed.tsv").read_text().splitlines()) == 3
    assert sorted(path.name for path in out.iterdir()) == [
        "digits",
        "exact.flac",
        "failed.tsv",
        "hello.flac",
    ]
    (tmp_path / "junk").mkdir()
    shutil.copy(folder / "junk.m4a", tmp_path / "junk")
    with pytest.raises(UserError, match="none of its 1 files"):
        main([str(tmp_path / "junk"), str(tmp_path / "other")])


@pytest.mark.parametrize("packed", [False, True])
def test_texts(folder, clip, tmp_path, packed):
    for name in ("beep", "press", "untold"):
        shutil.copy(folder / "hello.g722", folder / f"{name}.g722")
    prompts = (
        "; Sounds\n\nhello: Hello, it's Call-Forward!  Goodbye.\nbeep: [a beep]\n"
        "press: Press 1 now.\ndigits/one: One\nelsewhere: Not here.\n"
    )
    file = tmp_path / ("prompts.txt.gz" if packed else "prompts.txt")
    file.write_bytes(gzip.compress(prompts.encode()) if packed else prompts.encode())
    out = tmp_path / "out"
    main([str(folder), str(out), "--texts", str(file)])
    texts = {str(p.relative_to(out)): p.read_text() for p in out.rglob("*.txt")}
    assert texts == {
        "hello.txt": "hello it's call forward goodbye\n",
        "digits/one.txt": "one\n",
    }
    with pytest.raises(UserError, match="give the folder to which the names are relative"):
        main([str(folder.parent / "in" / "digits"), str(tmp_path / "o"), "--texts", str(file)])


def test_mistakes_have_an_error_that_names_them(folder, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        main([str(tmp_path / "missing"), str(tmp_path / "out")])
    with pytest.raises(UserError, match="choose another folder"):
        main([str(folder), str(folder / "out")])
    with pytest.raises(UserError, match=r"no file in it ends in \.xyz"):
        main([str(folder), str(tmp_path / "out"), "--suffixes", "xyz"])
    shutil.copy(folder / "exact.wav", folder / "hello.wav")
    with pytest.raises(UserError, match=r"would both become hello\.flac"):
        main([str(folder), str(tmp_path / "out")])
