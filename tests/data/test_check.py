"""Each fault that is put into a real clip is reported under its name, and only for this clip."""

import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax.errors import UserError

main = cli.shortcut("data", "check")


def write_manifest(folder: pathlib.Path, texts: dict[str, str] | None = None) -> pathlib.Path:
    """Write the audio of a folder with the headers' lengths; unreadable files get 3 s."""
    lines = ["path\tsamples\tsample_rate\tspeaker\ttext"]
    for file in sorted(folder.iterdir()):
        if file.suffix == ".tsv":
            continue
        try:
            info = soundfile.info(file)
            samples, rate = info.frames, info.samplerate
        except RuntimeError:
            samples, rate = 48000, 16000
        lines.append(f"{file.name}\t{samples}\t{rate}\t\t{(texts or {}).get(file.name, '')}")
    manifest = folder / "manifest.tsv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def problems(report: pathlib.Path) -> dict[str, set[str]]:
    header, *lines = report.read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    return {row["path"]: set(filter(None, row["problems"].split(","))) for row in rows}


@pytest.fixture(scope="module")
def clip(small_corpus) -> np.ndarray:
    """3 s of speech, float32 at 16 kHz, with a peak at half of full scale."""
    longest = max(small_corpus.glob("*.flac"), key=lambda path: soundfile.info(path).frames)
    audio, _ = soundfile.read(longest, dtype="float32")
    return 0.5 * audio / np.abs(audio).max()


def test_good_corpus_passes(small_corpus, tmp_path, capsys):
    assert main([str(small_corpus / "manifest.tsv"), "--report", str(tmp_path / "r.tsv")]) == 0
    found = problems(tmp_path / "r.tsv")
    assert len(found) == 12
    assert set().union(*found.values()) <= {"too_short"}
    for name, its in found.items():
        assert ("too_short" in its) == (soundfile.info(small_corpus / name).duration < 2)
    assert "A run can start" in capsys.readouterr().out


def test_each_fault_is_found(clip, tmp_path, capsys):
    folder = tmp_path / "corpus"
    folder.mkdir()
    quiet_half = np.concatenate([clip, np.zeros(len(clip) * 2, "float32")])
    nan = clip.copy()
    nan[100] = np.nan
    faint = np.full(len(clip), 10 ** (-59.5 / 20), "float32")  # below -60 dBFS as a whole,
    faint[1::2] *= -1
    faint[int(0.6 * len(clip)) :] = 0  # although only 40 % of the frames are
    loud = np.clip(clip * 4, -1, 1)
    noise = np.random.default_rng(0).normal(size=len(clip)).astype("float32")
    audios = {
        "good.wav": (clip, 16000),
        "nan.wav": (nan, 16000),
        "short.wav": (clip[:16000], 16000),
        "long.wav": (np.tile(clip, 8), 16000),
        "fast.wav": (clip * 0.9, 44100),
        "phone.wav": (clip * 0.8, 8000),
        "stereo.wav": (np.stack([clip, clip * 0.5], 1), 16000),
        "faint.wav": (faint, 16000),
        "silent.wav": (noise * 10 ** (-70 / 20), 16000),
        "mostly_silent.wav": (quiet_half, 16000),
        "loud.wav": (loud, 16000),
        "offset.wav": (clip * 0.5 + 0.05, 16000),
        "text.wav": (clip * 0.6, 16000),
    }
    for name, (audio, rate) in audios.items():
        soundfile.write(folder / name, audio, rate, subtype="FLOAT")
    shutil.copy(folder / "good.wav", folder / "same.wav")
    soundfile.write(folder / "cut.mp3", clip * 0.7, 16000)
    data = (folder / "cut.mp3").read_bytes()
    (folder / "cut.mp3").write_bytes(data[: int(len(data) * 0.8)])
    soundfile.write(folder / "torn.flac", clip, 16000)
    data = (folder / "torn.flac").read_bytes()
    (folder / "torn.flac").write_bytes(data[: len(data) // 2])
    (folder / "junk.wav").write_bytes(b"junk")
    soundfile.write(folder / "moved.wav", clip * 0.4, 22050)
    manifest = write_manifest(folder, {"good.wav": "it's good", "text.wav": "Nº 5"})
    rows = manifest.read_text().replace("\t22050\t", "\t16000\t").splitlines()
    rows += ["gone.wav\t48000\t16000\t\t", rows[1]]
    manifest.write_text("\n".join(rows) + "\n")

    report = tmp_path / "report.tsv"
    assert main([str(manifest), "--report", str(report)]) == 1
    lines = report.read_text().splitlines()
    assert lines[-1].startswith("cut.mp3\t") and "same_path" in lines[-1]
    report.write_text("\n".join(lines[:-1]) + "\n")
    assert problems(report) == {
        "good.wav": set(),
        "nan.wav": {"not_finite"},
        "short.wav": {"too_short"},
        "long.wav": {"too_long"},
        "fast.wav": {"resampled", "too_short"},
        "phone.wav": {"resampled", "low_rate"},
        "stereo.wav": {"channels"},
        "faint.wav": {"silent"},
        "silent.wav": {"silent"},
        "mostly_silent.wav": {"silent"},
        "loud.wav": {"clipping"},
        "offset.wav": {"offset"},
        "text.wav": {"text"},
        "same.wav": {"same_audio"},
        "cut.mp3": {"length_mismatch"},
        "torn.flac": {"broken"},
        "junk.wav": {"broken"},
        "gone.wav": {"broken"},
        "moved.wav": {"rate_mismatch", "resampled"},
    }
    printed = capsys.readouterr().out
    assert "FATAL: 25.0% of the clips are bad" in printed  # nan, torn, junk, gone, moved of 20
    assert "'N' 1" in printed and "'5' 1" in printed
    assert "does not exist" in report.read_text()


def test_long_files_are_read_in_blocks_to_the_end(clip, tmp_path):
    """A fault after the first block of 30 s is found, and all samples are counted."""
    audio = np.tile(clip, 15)
    audio[-5] = np.inf
    soundfile.write(tmp_path / "a.wav", audio, 16000, subtype="FLOAT")
    audio[-5] = 0.5  # c.wav and b.wav differ only in their first block
    soundfile.write(tmp_path / "c.wav", audio, 16000)
    soundfile.write(tmp_path / "b.wav", np.append(audio[:480000][::-1], audio[480000:]), 16000)
    main([str(write_manifest(tmp_path)), "--report", str(tmp_path / "r.tsv")])
    assert problems(tmp_path / "r.tsv") == {
        "a.wav": {"not_finite", "too_long"},
        "b.wav": {"too_long"},
        "c.wav": {"too_long"},
    }
    assert float((tmp_path / "r.tsv").read_text().splitlines()[1].split("\t")[1]) == (
        pytest.approx(len(audio) / 16000, abs=1e-3)
    )


def test_limit_spreads_over_the_manifest(small_corpus, tmp_path):
    report = tmp_path / "r.tsv"
    main([str(small_corpus / "manifest.tsv"), "--limit", "3", "--report", str(report)])
    names = sorted(path.name for path in small_corpus.glob("*.flac"))
    assert list(problems(report)) == [names[0], names[6], names[11]]


def test_only_short_clips_are_fatal(clip, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", clip[:8000], 16000)
    assert main([str(write_manifest(tmp_path))]) == 1
    assert "FATAL: no usable clip lasts 2 s" in capsys.readouterr().out


def test_mistakes_have_an_error_that_names_them(tmp_path):
    (tmp_path / "m.tsv").write_text("path\tlength\na.wav\t3\n")
    with pytest.raises(UserError, match="no column samples"):
        main([str(tmp_path / "m.tsv")])
    with pytest.raises(UserError, match="is a folder"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match=r"missing\.tsv does not exist"):
        main([str(tmp_path / "missing.tsv")])
