"""The speech in a folder or a list, with speakers and texts, as public corpora arrange them.

A folder is recognised by what it contains, at any depth: LibriSpeech and LibriTTS (names of files),
LJSpeech (metadata.csv and wavs/), VCTK (txt/ beside wav48*/), Multilingual LibriSpeech
(transcripts.txt beside audio/), Libri-Light (NAME.json), Common Voice (clips/ and its tables),
Kaldi (wav.scp), and otherwise NAME.txt beside each file. Lists are tables or JSON lines, also
NeMo's, whose rows may be segments of a long recording.
"""

import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.errors import UserError

ALIASES = {  # {column name in the lists of other toolkits: our name}
    **dict.fromkeys(("path", "audio_filepath", "audio", "wav"), "path"),
    **dict.fromkeys(("text", "transcript", "sentence"), "text"),
    **dict.fromkeys(("speaker", "speaker_id", "client_id"), "speaker"),
    **dict.fromkeys(("start", "offset"), "start"),
    "end": "end",
    "duration": "duration",
}
COMMON_VOICE = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv")


class Source(NamedTuple):
    """Speech to read.

    Attributes:
        path: absolute path of the file.
        speaker, text: "" if unknown.
        utterance: name that recordings of the same utterance share; "": there are no others.
        start, end: the segment of the file in seconds; an `end` of None is the file's end.
    """

    path: str
    speaker: str
    text: str
    utterance: str = ""
    start: float = 0.0
    end: float | None = None


def find_speech(folder: pathlib.Path, speaker_from_folder: bool = False) -> Iterator[Source]:
    """Every audio file in `folder` and its subfolders, or the rows of the corpora in it.

    Hidden files and folders are skipped, because macOS leaves stubs `._NAME.wav` on other file
    systems.

    Args:
        folder: an absolute path.
        speaker_from_folder: True takes the name of a file's folder as its speaker where neither
            the layout nor the name tells the speaker.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # reached again by a symbolic link
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        layout = _layout(set(names), set(folders))
        if layout:
            yield from layout(pathlib.Path(place))
            folders.clear()
        else:
            yield from _plain_folder(place, names, speaker_from_folder)


def _layout(
    names: set[str], folders: set[str]
) -> Callable[[pathlib.Path], Iterator[Source]] | None:
    """The reader of a corpus that has these files and subfolders; None: a plain folder."""
    if "wav.scp" in names:
        return _kaldi
    if "metadata.csv" in names and "wavs" in folders:
        return _lj_speech
    if "transcripts.txt" in names and "audio" in folders:
        return _multilingual_librispeech
    if "clips" in folders and names & set(COMMON_VOICE):
        return _common_voice
    if "txt" in folders and any(name.startswith("wav48") for name in folders):
        return _vctk
    return None


def _plain_folder(place: str, names: list[str], speaker_from_folder: bool) -> Iterator[Source]:
    """Files with NAME.txt, LibriTTS's NAME.normalized.txt or LibriSpeech's NAME.trans.txt."""
    transcripts: dict[str, str] = {}
    for name in names:
        if name.endswith(".trans.txt") and not name.startswith("."):
            lines = read_text(os.path.join(place, name)).splitlines()
            pairs = (line.partition(" ") for line in lines)
            transcripts.update((key, text.lower()) for key, _, text in pairs)
    present = set(names)
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in SUFFIXES or name.startswith("."):
            continue
        text = transcripts.get(stem, "")
        for ending in (".txt", ".normalized.txt", ".lab"):
            if stem + ending in present:
                text = read_text(os.path.join(place, stem + ending))
                break
        path = os.path.join(place, name)
        speaker = speaker_of_name(path)
        if not speaker and f"{stem}.json" in present:  # Libri-Light
            described = json_row(read_text(os.path.join(place, f"{stem}.json")), f"{stem}.json")
            speaker = str(described.get("speaker", ""))
        if not speaker and speaker_from_folder:
            speaker = os.path.basename(place)
        yield Source(path, one_line(speaker), one_line(text))


def speaker_of_name(path: str) -> str:
    """The speaker in LibriSpeech's SPEAKER/CHAPTER/SPEAKER-CHAPTER-..., or LibriTTS's with "_"."""
    *_, speaker, chapter, name = ("", "", *path.split(os.sep))
    found = speaker and any(name.startswith(f"{speaker}{c}{chapter}{c}") for c in "-_")
    return speaker if found else ""


def _lj_speech(place: pathlib.Path) -> Iterator[Source]:
    for number, line in enumerate(read_text(place / "metadata.csv").splitlines(), 1):
        if not line.strip():
            continue
        name, *texts = line.split("|")
        if not texts:
            raise UserError(f"{place / 'metadata.csv'}:{number}: no column of text after a '|'")
        path = place / "wavs" / (name if name.lower().endswith(SUFFIXES) else f"{name}.wav")
        yield Source(str(path), one_line(place.name), one_line(texts[-1]))


def _multilingual_librispeech(place: pathlib.Path) -> Iterator[Source]:
    texts = dict(_pairs(place / "transcripts.txt"))
    for path in _audio(place / "audio"):
        yield Source(str(path), path.stem.partition("_")[0], texts.get(path.stem, ""))


def _common_voice(place: pathlib.Path) -> Iterator[Source]:
    tables = [place / name for name in COMMON_VOICE if (place / name).is_file()]
    for table in tables[:1] if tables[0].name == COMMON_VOICE[0] else tables:
        yield from read_list(table)


def _vctk(place: pathlib.Path) -> Iterator[Source]:
    """The two microphones of an utterance have the same text and name of the utterance."""
    for audio in sorted(place.glob("wav48*")):
        for path in _audio(audio):
            utterance = re.sub(r"_mic\d+$", "", path.stem)
            text = place / "txt" / path.parent.name / f"{utterance}.txt"
            words = read_text(text) if text.is_file() else ""
            yield Source(str(path), path.parent.name, one_line(words), utterance)


def _kaldi(place: pathlib.Path) -> Iterator[Source]:
    recordings = dict(_pairs(place / "wav.scp"))
    for name, path in recordings.items():
        if path.endswith("|"):
            raise UserError(
                f"{place / 'wav.scp'}: {name} is a command, not a file; convert the recordings with"
                " uniwav data convert and name the files"
            )
    tables = {name: dict(_pairs(place / name)) for name in ("text", "utt2spk", "segments")}
    segments = tables["segments"] or {name: name for name in recordings}
    for utterance, segment in segments.items():
        recording, *times = segment.split()
        if recording not in recordings or len(times) not in (0, 2):
            raise UserError(f"{place / 'segments'}: {utterance}: give RECORDING START END")
        start, end = map(float, times) if times else (0.0, None)
        path = os.path.abspath(place / recordings[recording])
        text, speaker = (tables[name].get(utterance, "") for name in ("text", "utt2spk"))
        yield Source(path, speaker, text, "", start, None if end == -1 else end)


def _pairs(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """(name, rest) of each line; nothing if there is no such file."""
    if file.is_file():
        for line in read_text(file).splitlines():
            if line.strip():
                name, *rest = line.split(maxsplit=1)
                yield name, one_line(" ".join(rest))


def _audio(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path


def read_list(file: pathlib.Path, speaker_from_folder: bool = False) -> Iterator[Source]:
    """The files in a tab-separated list with a header, or in JSON lines; columns as in `ALIASES`.

    Relative paths start at the list's folder, or at clips/ in it, as in Common Voice.

    Raises:
        UserError: there is no column of paths, or a line is malformed or has an empty path; the
            message names the line.
    """
    lines = read_text(file).split("\n")  # splitlines would also cut at separators inside a text
    names = lines[0].rstrip("\r").split("\t")
    json_lines = lines[0].lstrip().startswith("{")
    if not json_lines and "path" not in map(ALIASES.get, names):
        raise UserError(
            f"{file}: no column 'path' in its header line; found: {', '.join(names) or 'none'}"
            " (columns are separated by tabs)"
        )
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and not json_lines):
            continue
        place = f"{file}:{number}"
        row = json_row(line, place) if json_lines else _cells(names, line.rstrip("\r"), place)
        ours = {
            ALIASES[name]: value
            for name, value in row.items()
            if name in ALIASES and value not in ("", None)
        }
        if not isinstance(ours.get("path"), str):
            raise UserError(f"{place}: no 'path' in this row; found: {', '.join(row)}")
        path = os.path.abspath(file.parent / ours["path"])
        clips = os.path.abspath(file.parent / "clips" / ours["path"])
        if not os.path.exists(path) and os.path.exists(clips):
            path = clips
        speaker = one_line(str(ours.get("speaker", ""))) or speaker_of_name(path)
        if not speaker and speaker_from_folder:
            speaker = os.path.basename(os.path.dirname(path))
        text = one_line(str(ours.get("text", "")))
        yield Source(path, one_line(speaker), text, "", *_segment(ours, place))


def _segment(row: dict[str, Any], place: str) -> tuple[float, float | None]:
    """Start and end in seconds of a row with the fields start, end and duration, or some of them.

    Raises:
        UserError: one is no number, or the segment is empty.
    """
    try:
        times = {name: float(row[name]) for name in ("start", "end", "duration") if name in row}
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: start, end and duration are seconds ({error})") from error
    start = times.get("start", 0.0)
    end = times.get("end", start + times["duration"] if "duration" in times else None)
    if start < 0 or (end is not None and not end > start):
        raise UserError(f"{place}: the segment from {start} s to {end} s has no audio")
    return start, end


def _cells(names: list[str], line: str, place: str) -> dict[str, str]:
    cells = line.split("\t")
    if len(cells) > len(names):
        raise UserError(f"{place}: {len(cells)} cells under {len(names)} column names")
    return dict(zip(names, cells, strict=False))


def json_row(line: str, place: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it is not JSON, or no object.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a line must be a JSON object")
    return row


def read_text(path: str | os.PathLike[str]) -> str:
    """A file in UTF-8, without a byte-order mark.

    Raises:
        UserError: it cannot be read, or is no UTF-8.
    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from error


def one_line(text: str) -> str:
    """The text with single spaces in place of all white space."""
    return " ".join(text.split())
