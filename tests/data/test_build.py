"""The manifest describes the files in a fixed order, and files that are left out are named."""

import json
import os
import pathlib
import shutil

import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax.data import build as build_lib
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.errors import UserError

main = cli.shortcut("data", "manifest")


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def flacs(corpus: pathlib.Path) -> list[pathlib.Path]:
    return sorted(corpus.glob("*.flac"))


@pytest.fixture
def speech(small_corpus, tmp_path) -> pathlib.Path:
    """Every format, other rates and channels, a text file, and files that must be rejected."""
    folder = tmp_path / "speech"
    (folder / "deep" / "er").mkdir(parents=True)
    first, second, third, *_ = flacs(small_corpus)
    audio, rate = soundfile.read(first, dtype="int16")
    shutil.copy(second, folder / "b.flac")
    shutil.copy(third, folder / "deep" / "er" / "Ü c.FLAC")
    soundfile.write(folder / "a.wav", audio[:, None].repeat(2, 1), 44100)
    soundfile.write(folder / "d.ogg", audio, rate)
    soundfile.write(folder / "deep" / "e.opus", audio, rate, format="OGG", subtype="OPUS")
    soundfile.write(folder / "deep" / "f.mp3", audio, rate)
    (folder / "b.txt").write_text("Two\tlines\nof text \n")
    (folder / "deep" / "junk.wav").write_bytes(b"not audio")
    (folder / "empty.flac").write_bytes(b"")
    soundfile.write(folder / "no_samples.wav", audio[:0], rate)
    (folder / "._b.flac").write_bytes(b"a stub of another system")
    streamed = bytearray(first.read_bytes())
    streamed[21] &= 0xF0  # total samples = 0: unknown, as for a file written to a pipe
    streamed[22:26] = bytes(4)
    (folder / "streamed.flac").write_bytes(streamed)
    return folder


def test_folder(speech, small_corpus, capsys):
    out = speech / "train.tsv"
    assert main([str(speech), "--out", str(out)]) == 0
    rows = read_rows(out)
    assert [row["path"] for row in rows] == [
        "a.wav",
        "b.flac",
        "d.ogg",
        "deep/e.opus",
        "deep/er/Ü c.FLAC",
        "deep/f.mp3",
        "streamed.flac",
    ]
    for row in rows:
        audio, rate = soundfile.read(speech / row["path"].replace("streamed", "b"))
        if row["path"] == "streamed.flac":
            audio, rate = soundfile.read(flacs(small_corpus)[0])
        assert (int(row["samples"]), int(row["sample_rate"])) == (len(audio), rate)
    assert [row["text"] for row in rows] == ["", "Two lines of text", "", "", "", "", ""]
    rejected = read_rows(speech / "train.rejected.tsv")
    assert [pathlib.Path(row["path"]).name for row in rejected] == [
        "junk.wav",
        "empty.flac",
        "no_samples.wav",
    ]
    printed = capsys.readouterr()
    assert "7 clips (16000 Hz: 6, 44100 Hz: 1)" in printed.out
    assert "rejected: 3" in printed.out
    assert "junk.wav" in printed.err
    assert not list(speech.glob(".*.part"))


def test_the_loader_reads_it(speech, tmp_path):
    out = tmp_path / "elsewhere" / "train.tsv"  # not above the audio, so paths are absolute
    main([str(speech), "--out", str(out)])
    manifest = manifest_lib.load(str(out), cache=str(tmp_path / "cache"))
    assert len(manifest) == 7
    assert all(os.path.isabs(manifest.name(i)) and os.path.isfile(manifest.path(i)) for i in (0, 5))


def test_librispeech_layout(small_corpus, tmp_path):
    root = tmp_path / "LibriSpeech"
    names = []
    for clip in flacs(small_corpus):
        speaker, chapter, _ = clip.stem.split("-")
        place = root / "dev-clean" / speaker / chapter
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, place)
        with (place / f"{speaker}-{chapter}.trans.txt").open("a") as file:
            file.write(f"{clip.stem} WORDS OF {clip.stem.upper()}\n")
        names.append(clip.stem)
    main([str(root), "--out", str(tmp_path / "m.tsv")])
    rows = read_rows(tmp_path / "m.tsv")
    assert [pathlib.Path(row["path"]).stem for row in rows] == names
    for row, name in zip(rows, names, strict=True):
        assert row["speaker"] == name.split("-")[0]
        assert row["text"] == f"words of {name}"
    assert rows[0]["path"].startswith("LibriSpeech/dev-clean/")


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_lists_of_other_toolkits(small_corpus, tmp_path, kind):
    clips = flacs(small_corpus)[:3]
    rows = [
        {"duration": 99, "transcript": "o\u2028k", "speaker_id": i, "audio_filepath": clip.name}
        for i, clip in enumerate(clips)
    ]
    rows += [dict(rows[0], transcript="again"), dict(rows[0], audio_filepath="missing.flac")]
    source = small_corpus / f"list_{tmp_path.name}.{kind}"
    if kind == "jsonl":
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        source.write_bytes("\r\n".join(lines).encode())
    out = tmp_path / "m.tsv"
    main([str(source), "--out", str(out)])
    assert [row["path"] for row in read_rows(out)] == [str(clip) for clip in clips]
    assert [row["text"] for row in read_rows(out)] == [
        "o k"
    ] * 3  # the first of equal paths is kept
    assert [int(row["samples"]) for row in read_rows(out)] == [
        soundfile.info(clip).frames for clip in clips
    ]
    assert read_rows(tmp_path / "m.rejected.tsv")[0]["reason"] == "does not exist"
    if kind == "tsv":
        assert [row["speaker"] for row in read_rows(out)] == ["0", "1", "2"]


def test_split_by_file_is_the_same_after_a_move(small_corpus, tmp_path):
    def build(folder: pathlib.Path) -> tuple[list[str], list[str]]:
        out, chosen = folder / "train.tsv", folder / "eval.tsv"
        main([str(folder), "--out", str(out), "--eval_out", str(chosen), "--eval_fraction", "0.3"])
        return [r["path"] for r in read_rows(out)], [r["path"] for r in read_rows(chosen)]

    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        for clip in flacs(small_corpus):
            shutil.copy(clip, folder)
    train, chosen = build(folders[0])
    assert build(folders[1]) == (train, chosen)
    assert sorted(train + chosen) == [clip.name for clip in flacs(small_corpus)]
    assert 1 <= len(chosen) <= 4
    assert sorted(train) == train


def test_split_by_speaker_puts_no_speaker_on_both_sides(small_corpus, tmp_path):
    folder = tmp_path / "speakers"
    for i, clip in enumerate(flacs(small_corpus)):
        for name in ("x", "y"):
            (folder / f"speaker{i}").mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, folder / f"speaker{i}" / f"{name}.flac")
    out, chosen = tmp_path / "train.tsv", tmp_path / "eval.tsv"
    arguments = [str(folder), "--out", str(out), "--eval_out", str(chosen)]
    main([*arguments, "--speaker_from_folder", "--eval_fraction", "0.2"])
    train_speakers = {row["speaker"] for row in read_rows(out)}
    chosen_speakers = {row["speaker"] for row in read_rows(chosen)}
    assert chosen_speakers and not train_speakers & chosen_speakers
    assert len(train_speakers | chosen_speakers) == 12
    assert len(read_rows(out)) + len(read_rows(chosen)) == 24
    seconds = [sum(int(r["samples"]) for r in read_rows(path)) for path in (chosen, out)]
    assert seconds[0] <= 0.2 * sum(seconds)


def test_interrupted_writing_keeps_the_old_manifest(tmp_path):
    def rows():
        yield ["a.wav"]
        raise KeyboardInterrupt

    (tmp_path / "m.tsv").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        build_lib.write_table(tmp_path / "m.tsv", ["path"], rows())
    assert (tmp_path / "m.tsv").read_text() == "old"
    assert os.listdir(tmp_path) == ["m.tsv"]


def test_min_seconds(small_corpus, tmp_path):
    shutil.copy(flacs(small_corpus)[0], tmp_path / "long.flac")
    audio, rate = soundfile.read(tmp_path / "long.flac", dtype="int16")
    soundfile.write(tmp_path / "short.wav", audio[: rate // 2], rate)
    main([str(tmp_path), "--out", str(tmp_path / "m.tsv"), "--min_seconds", "1"])
    assert [row["path"] for row in read_rows(tmp_path / "m.tsv")] == ["long.flac"]
    with pytest.raises(UserError, match="none of its 2 clips lasts"):
        main([str(tmp_path), "--out", str(tmp_path / "m.tsv"), "--min_seconds", "60"])


def test_mistakes_have_an_error_that_names_them(small_corpus, tmp_path):
    out = ["--out", str(tmp_path / "m.tsv")]
    columns, broken = tmp_path / "columns.tsv", tmp_path / "broken.jsonl"
    columns.write_text("name\tlength\na.wav\t3\n")
    broken.write_text('{"path": "a.wav"}\n{"path": \n')
    (tmp_path / "nothing").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.wav").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no such folder"):
        main([str(tmp_path / "missing"), *out])
    with pytest.raises(UserError, match="no audio in it"):
        main([str(tmp_path / "nothing"), *out])
    with pytest.raises(UserError, match="found: name, length"):
        main([str(columns), *out])
    with pytest.raises(UserError, match=r"broken.jsonl:2: not JSON"):
        main([str(broken), *out])
    with pytest.raises(UserError, match="none of its 1 files can be read"):
        main([str(tmp_path / "bad"), *out])
    with pytest.raises(UserError, match="cannot write into this folder"):
        main([str(small_corpus), "--out", str(columns / "m.tsv")])
    with pytest.raises(UserError, match="must be different files"):
        main([str(columns), "--out", str(columns)])
    assert not (tmp_path / "m.tsv").exists()
