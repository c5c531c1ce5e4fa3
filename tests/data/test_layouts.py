"""The folders and lists of public corpora: files, speakers, texts, segments, splits."""

import json
import pathlib

import numpy as np
import pytest
import soundfile

from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.reader import measure
from uniwav_jax.cli import shortcut
from uniwav_jax.data import layouts, lists
from uniwav_jax.errors import UserError

RATE = 8000


@pytest.fixture
def write(tmp_path):
    """A function (name, content) that writes a text, or for None a second of noise."""

    def file(name: str, content: str | None = None) -> pathlib.Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            noise = np.random.default_rng(len(name)).normal(size=RATE) * 0.1
            soundfile.write(path, noise, RATE)
        else:
            path.write_text(content)
        return path

    return file


def found(folder: pathlib.Path) -> list[tuple[str, str, str]]:
    """(path, speaker, text) of all files below a folder."""
    sources = layouts.find_speech(folder)
    return sorted((str(pathlib.Path(s.path).relative_to(folder)), *s[1:3]) for s in sources)


def test_lj_speech(write, tmp_path):
    write("LJ/wavs/LJ001-0001.wav")
    write("LJ/metadata.csv", "LJ001-0001|In 1492|in fourteen ninety two\n")
    assert found(tmp_path) == [("LJ/wavs/LJ001-0001.wav", "LJ", "in fourteen ninety two")]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ("\ufeffa|In 1492|in fourteen ninety two\r\n", "in fourteen ninety two"),
        ("a|Raw|\n", "Raw"),  # not every line need be normalised
        ('wavs/a.wav|He said "hi, path, and so on\n', 'He said "hi, path, and so on'),
        ("file|text|normalized_text\na|1|one\n", "one"),
        ('file_name,transcription\nwavs/a.wav,"one, two"\n', "one, two"),
    ],
)
def test_metadata_of_folders_like_lj_speech(write, tmp_path, metadata, text):
    write("LJ/wavs/a.wav")
    write("LJ/metadata.csv", metadata)
    assert found(tmp_path) == [("LJ/wavs/a.wav", "LJ", text)]


def test_audio_folders_of_hugging_face(write, tmp_path):
    write("train/a.wav")
    write("train/metadata.csv", 'file_name,transcription\na.wav,"one, two"\n')
    assert found(tmp_path) == [("train/a.wav", "", "one, two")]


def test_vctk_microphones_stay_together(write, tmp_path):
    for speaker in ("p225", "p226"):
        for utterance in ("001", "002"):
            for microphone in ("mic1", "mic2"):
                write(f"wav48_silence_trimmed/{speaker}/{speaker}_{utterance}_{microphone}.flac")
            write(f"txt/{speaker}/{speaker}_{utterance}.txt", f"text {utterance}\n")
    rows = found(tmp_path)
    assert len(rows) == 8 and {row[1:] for row in rows} == {
        (speaker, f"text {utterance}")
        for speaker in ("p225", "p226")
        for utterance in ("001", "002")
    }
    # With one speaker, utterances are divided, and both microphones are on the same side.
    for path in tmp_path.rglob("p226*.flac"):
        path.unlink()
    names = split(tmp_path)
    utterances = [{pathlib.Path(name).stem.rpartition("_")[0] for name in side} for side in names]
    assert all(utterances) and not utterances[0] & utterances[1]


def split(folder: pathlib.Path) -> list[list[str]]:
    """Paths in training and in evaluation, as `uniwav data manifest` divides them."""
    out, held_out = folder / "m.tsv", folder / "e.tsv"
    arguments = [str(folder), "--out", str(out), "--eval_out", str(held_out)]
    assert shortcut("data", "manifest")([*arguments, "--eval_fraction", "0.5"]) == 0
    return [
        [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
        for path in (out, held_out)
    ]


def test_libri_tts(write, tmp_path):
    write("train/84/121123/84_121123_000007_000001.wav")
    write("train/84/121123/84_121123_000007_000001.normalized.txt", "Maximilien.\n")
    write("train/84/121123/84_121123_000007_000001.original.txt", "MAX.\n")
    [(_, speaker, text)] = found(tmp_path)
    assert (speaker, text) == ("84", "Maximilien.")
    (tmp_path / "train/84/121123/84_121123_000007_000001.normalized.txt").unlink()
    assert [row[2] for row in found(tmp_path)] == ["MAX."]


def test_multilingual_librispeech(write, tmp_path):
    write("dev/audio/10/20/10_20_000001.flac")
    write("dev/transcripts.txt", "10_20_000001\tguten tag\n")
    assert found(tmp_path) == [("dev/audio/10/20/10_20_000001.flac", "10", "guten tag")]


def test_libri_light(write, tmp_path):
    write("small/100/book/chapter_01.flac")
    write("small/100/book/chapter_01.json", json.dumps({"speaker": "100", "book_meta": {}}))
    assert found(tmp_path) == [("small/100/book/chapter_01.flac", "100", "")]
    for other in ("[1]", "{", json.dumps({"speaker": {"id": 1}})):  # of another program
        write("small/100/book/chapter_01.json", other)
        assert found(tmp_path) == [("small/100/book/chapter_01.flac", "", "")]


def test_common_voice(write, tmp_path):
    for name in ("a", "b"):
        write(f"en/clips/{name}.mp3")
    header = "client_id\tpath\tsentence\tup_votes\n"
    write("en/validated.tsv", f"{header}x1\ta.mp3\tHello.\t2\nx2\tb.mp3\tBye.\t2\n")
    write("en/train.tsv", f"{header}x1\ta.mp3\tHello.\t2\n")
    rows = [("en/clips/a.mp3", "x1", "Hello."), ("en/clips/b.mp3", "x2", "Bye.")]
    assert found(tmp_path) == rows
    [only] = lists.read_list(tmp_path / "en" / "train.tsv")
    assert (only.path, only.speaker) == (str(tmp_path / "en" / "clips" / "a.mp3"), "x1")


def test_kaldi(write, tmp_path, capsys):
    recording = write("audio/r.wav")
    write("data/wav.scp", f"r {recording}\n")
    write("data/utt2spk", "u1 anna\nu2 bert\n")
    write("data/text", "u1 first words\nu2 others\n")
    write("data/segments", "u1 r 0.0 0.25\nu2 r 0.5 1.0\n")
    sources = list(layouts.find_speech(tmp_path / "data"))
    assert [(s.speaker, s.text, s.start, s.end) for s in sources] == [
        ("anna", "first words", 0.0, 0.25),
        ("bert", "others", 0.5, 1.0),
    ]
    check_segments(tmp_path / "data", recording, capsys)
    for files, message in (
        ({"segments": "u1 r x 1\n"}, "u1: start, end and duration are seconds"),
        ({"segments": "u1 r 1 1\n"}, "u1: the segment from 1.0 s to 1.0 s"),
        ({"segments": "u1 q 0 1\n"}, "the recording q is not in wav.scp"),
        ({"wav.scp": "r sph2pipe -f wav r.sph | \r\n"}, "r is a command"),
        ({"wav.scp": "r /data/raw.ark:123\n"}, "r is part of an archive"),
    ):
        for name, content in files.items():
            write(f"data/{name}", content)
        with pytest.raises(UserError, match=message):
            list(layouts.find_speech(tmp_path / "data"))


def check_segments(speech: pathlib.Path, recording: pathlib.Path, capsys) -> None:
    """A manifest refuses segments and names the command that cuts them, which keeps the samples."""
    with pytest.raises(UserError, match=r"2 rows are segments of longer files.*uniwav data cut"):
        shortcut("data", "manifest")([str(speech), "--out", str(recording.parent / "m.tsv")])
    out = recording.parent / "pieces"
    assert shortcut("data", "cut")([str(speech), "--out", str(out)]) == 0
    header, *lines = (out / "manifest.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [(row["speaker"], row["text"]) for row in rows] == [
        ("anna", "first words"),
        ("bert", "others"),
    ]
    whole, _ = soundfile.read(recording, dtype="int16")
    for row, (start, end) in zip(rows, ((0, RATE // 4), (RATE // 2, RATE)), strict=True):
        piece, rate = soundfile.read(out / row["path"], dtype="int16")
        assert rate == RATE and int(row["samples"]) == len(piece)
        np.testing.assert_array_equal(piece, whole[start:end])


@pytest.mark.parametrize("kind", ["nemo", "tsv"])
def test_lists_of_segments(write, tmp_path, capsys, kind):
    recording = write("audio/r.wav")
    if kind == "nemo":
        common = {"audio_filepath": "audio/r.wav"}
        rows = [
            {**common, "offset": 0, "duration": 0.25, "text": "first words", "speaker": "anna"},
            {**common, "offset": 0.5, "duration": 0.5, "text": "others", "speaker": "bert"},
        ]
        speech = write("list.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = ("path\tstart\tend\ttext\tspeaker", "audio/r.wav\t0\t0.25\tfirst words\tanna")
        speech = write("list.tsv", "\n".join((*lines, "audio/r.wav\t0.5\t\tothers\tbert")) + "\n")
    check_segments(speech, recording, capsys)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"offset": "x"}, "start, end and duration are seconds"),
        ({"offset": 3, "end": 2}, "has no audio"),
        ({"offset": -1}, "has no audio"),
    ],
)
def test_wrong_segments_name_their_line(write, row, message):
    speech = write("list.jsonl", json.dumps({"path": "a.wav", **row}) + "\n")
    with pytest.raises(UserError, match=f"list.jsonl:1: .*{message}"):
        list(lists.read_list(speech))


def test_a_duration_of_the_whole_file_is_no_segment(write, tmp_path):
    write("r.wav")
    speech = write("list.jsonl", json.dumps({"path": "r.wav", "duration": 1.0}) + "\n")
    assert shortcut("data", "manifest")([str(speech), "--out", str(tmp_path / "m.tsv")]) == 0


def test_what_cannot_be_cut_is_named_and_the_rest_is_cut(write, tmp_path, capsys):
    write("good.wav")
    write("broken.wav", "no audio")
    rows = "good.wav,0,0.5\nbroken.wav,0,0.5\ngone.wav,0,1\ngood.wav,0.5,9\ngood.wav,2,3\n"
    speech = write("list.csv", "path,start,end\n" + rows)
    assert shortcut("data", "cut")([str(speech), "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    for wrong in ("broken.wav cannot", "gone.wav does not exist", "to 9 s is not", "to 3 s is not"):
        assert wrong in errors
    assert len((tmp_path / "out" / "manifest.tsv").read_text().splitlines()) == 2
    speech.write_text("path,start,end\ngone.wav,0,1\n")
    with pytest.raises(UserError, match="no segment of it can be read"):
        shortcut("data", "cut")([str(speech), "--out", str(tmp_path / "more")])


def test_a_warning_of_files_that_are_shorter_than_listed(write, tmp_path, capsys):
    write("r.wav")
    speech = write("list.csv", "path,duration\nr.wav,9\n")
    assert shortcut("data", "manifest")([str(speech), "--out", str(tmp_path / "m.tsv")]) == 0
    assert "r.wav: 1.00 s of 9 s" in capsys.readouterr().out


def test_speakers_are_on_one_side(write, tmp_path, capsys):
    for speaker, count in (("1", 4), ("2", 2), ("3", 1)):
        for number in range(count):
            write(f"{speaker}/9/{speaker}-9-{number}.flac")
    train, held_out = ({name.split("/")[0] for name in side} for side in split(tmp_path))
    assert held_out and not train & held_out
    assert "warning" not in capsys.readouterr().out
    write("unknown.flac")
    split(tmp_path)
    assert "warning: the speakers of some clips are unknown" in capsys.readouterr().out


def test_chapters_are_not_speakers(write, tmp_path):
    write("7/chapter/7-chapter-0.flac")
    [source] = layouts.find_speech(tmp_path, speaker_from_folder=True)
    assert source.speaker == "7"


def test_timit(write, tmp_path):
    """NIST files named .WAV; the texts begin with two numbers of samples."""
    place = "TIMIT/TRAIN/DR1/FCJF0"
    for name, extra in (("SA1", ".WAV"), ("SI648", ".WAV"), ("SI648", ".WAV.wav")):
        path = write(f"{place}/{name}{extra}")
        soundfile.write(
            path, np.zeros(RATE) + 0.1, RATE, format="WAV" if "wav" in extra else "NIST"
        )
        write(f"{place}/{name}.PHN", "0 3050 h#\n")
        write(f"{place}/{name}.WRD", "0 3050 she\n")
        write(f"{place}/{name}.TXT", f"0 46797 She had {name}.\n")
    assert found(tmp_path) == [
        (f"{place}/SA1.WAV", "FCJF0", "She had SA1."),
        (f"{place}/SI648.WAV.wav", "FCJF0", "She had SI648."),
    ]
    out = tmp_path / "m.tsv"
    assert shortcut("data", "manifest")([str(tmp_path / "TIMIT"), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 3
    sphere = tmp_path / place / "SA1.WAV"
    content = sphere.read_bytes().replace(
        b"sample_coding -s3 pcm", b"sample_coding -s26 pcm,embedded-shorten-v2.00"
    )
    sphere.write_bytes(content)
    with pytest.raises(BadAudioError, match="sph2pipe"):
        measure(str(sphere))


def test_texts_with_a_suffix_in_capitals(write, tmp_path):
    write("a/X.WAV")
    write("a/X.TXT", "hi\n")
    assert found(tmp_path) == [("a/X.WAV", "", "hi")]
