"""The speech in a folder or a list, with speakers and texts, as public corpora arrange them.

A folder is recognised by what it contains, at any depth: LibriSpeech and LibriTTS (names of files),
LJSpeech (metadata.csv and wavs/), VCTK (txt/ beside wav48*/), Multilingual LibriSpeech
(transcripts.txt beside audio/), Libri-Light (NAME.json), Common Voice (clips/ and its tables),
Kaldi (wav.scp), TIMIT (DR1/FCJF0/), Hugging Face's audio folders (metadata.csv or .jsonl), and
otherwise NAME.txt beside each file. Lists are read by data/lists.py.
"""

import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.audio import folders as audio_folders
from uniwav_jax.data import lists
from uniwav_jax.data.lists import Source, locate, one_line, read_list, speaker_of_name
from uniwav_jax.errors import UserError
from uniwav_jax.text.files import read_text

COMMON_VOICE = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv")
METADATA = ("metadata.jsonl", "metadata.csv")  # Hugging Face's
TEXTS = (".txt", ".normalized.txt", ".original.txt", ".lab")  # after NAME, the first one is taken
MICROPHONE = re.compile(r"((p\d+|s5)_\d+)_mic\d+")  # VCTK's utterance and speaker

TIMIT = re.compile(r".*/dr[1-8]/[fm][a-z]{3}\d", re.IGNORECASE)  # folder of a speaker


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
        layout = _layout(pathlib.Path(place), set(names), set(folders))
        if layout:
            yield from layout(pathlib.Path(place))
            folders.clear()
        else:
            yield from _plain_folder(place, names, speaker_from_folder)


def _layout(
    place: pathlib.Path, names: set[str], folders: set[str]
) -> Callable[[pathlib.Path], Iterator[Source]] | None:
    """The reader of a corpus that has these files and subfolders; None: a plain folder."""
    if "wav.scp" in names:
        return _kaldi
    if TIMIT.fullmatch(str(place)) and any(name.lower().endswith(".phn") for name in names):
        return _timit
    if "metadata.csv" in names and "wavs" in folders:
        return _lj_speech
    if "transcripts.txt" in names and "audio" in folders:
        return _multilingual_librispeech
    if "clips" in folders and names & set(COMMON_VOICE):
        return _common_voice
    if "txt" in folders and any(re.match(r"wav\d", name) for name in folders):
        return _vctk
    if any(name in names and lists.is_list(place / name) for name in METADATA):
        return _audio_folder
    return None


def _plain_folder(place: str, names: list[str], speaker_from_folder: bool) -> Iterator[Source]:
    """Files with NAME.txt, LibriTTS's NAME.normalized.txt or LibriSpeech's NAME.trans.txt."""
    transcripts: dict[str, str] = {}
    for name in names:
        if name.endswith(".trans.txt") and not name.startswith("."):
            pairs = _pairs(pathlib.Path(place, name))
            transcripts.update((key, text.lower()) for key, text in pairs)
    present = set(names)
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in SUFFIXES or name.startswith("."):
            continue
        text = transcripts.get(stem, "")
        for ending in TEXTS:
            beside = {stem + ending, stem + ending.upper()} & present
            if beside:
                text = read_text(os.path.join(place, min(beside, key=str.isupper)))
                break
        path = os.path.join(place, name)
        speaker = speaker_of_name(path)
        microphone = MICROPHONE.fullmatch(stem)
        if microphone:
            speaker = speaker or microphone[2]
        if not speaker and f"{stem}.json" in present:
            speaker = _libri_light_speaker(pathlib.Path(place, f"{stem}.json"))
        if not speaker and speaker_from_folder:
            speaker = os.path.basename(place)
        utterance = microphone[1] if microphone else ""
        yield Source(path, one_line(speaker), one_line(text), utterance)


def _libri_light_speaker(file: pathlib.Path) -> str:
    """The field "speaker" of NAME.json; "" where the file is of another kind."""
    try:
        described = json.loads(read_text(file))
    except (UserError, ValueError):
        return ""
    speaker = described.get("speaker", "") if isinstance(described, dict) else ""
    return str(speaker) if isinstance(speaker, str | int) else ""


def _audio_folder(place: pathlib.Path) -> Iterator[Source]:
    chosen = next(place / name for name in METADATA if lists.is_list(place / name))
    yield from read_list(chosen)


def _lj_speech(place: pathlib.Path) -> Iterator[Source]:
    """Lines NAME|TEXT or NAME|TEXT|NORMALISED, or a table with a header."""
    file = place / "metadata.csv"
    if lists.is_list(file):
        yield from read_list(file, speaker=place.name)
        return
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        name, *texts = line.split("|")
        if not texts:
            raise UserError(f"{file}:{number}: no column of text after a '|'")
        text = next((text for text in reversed(texts) if text.strip()), "")
        yield Source(locate(place, name.strip()), one_line(place.name), one_line(text))


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
    for audio in sorted(place.glob("wav[0-9]*")):
        for path in _audio(audio):
            utterance = re.sub(r"_mic\d+$", "", path.stem)
            text = place / "txt" / path.parent.name / f"{utterance}.txt"
            words = read_text(text) if text.is_file() else ""
            yield Source(str(path), path.parent.name, one_line(words), utterance)


def _kaldi(place: pathlib.Path) -> Iterator[Source]:
    recordings = dict(_pairs(place / "wav.scp"))
    for name, path in recordings.items():
        if path.endswith("|") or re.search(r"\.ark(:\d+)?$", path):
            kind = "a command" if path.endswith("|") else "part of an archive"
            raise UserError(
                f"{place / 'wav.scp'}: {name} is {kind}, not a file; write the recordings to files,"
                " for example with wav-copy, and name these"
            )
    tables = {name: dict(_pairs(place / name)) for name in ("text", "utt2spk", "segments")}
    for speaker, utterances in _pairs(place / "spk2utt"):
        for utterance in utterances.split():
            tables["utt2spk"].setdefault(utterance, speaker)
    segments = tables["segments"] or {name: name for name in recordings}
    for utterance, row in segments.items():
        line = f"{place / 'segments'}: {utterance}"
        recording, *times = row.split()
        if len(times) not in (0, 2):
            raise UserError(f"{line}: give RECORDING START END")
        if recording not in recordings:
            raise UserError(f"{line}: the recording {recording} is not in wav.scp")
        ours = dict(zip(("start", "end"), times))
        if ours.get("end") in ("-1", "-1.0"):  # the end of the recording
            del ours["end"]
        path = recordings[recording]
        if not (place / path).exists() and os.path.exists(path):
            path = os.path.abspath(path)  # relative to the folder of the recipe
        text, speaker = (tables[name].get(utterance, "") for name in ("text", "utt2spk"))
        path = os.path.abspath(place / path)
        yield Source(path, speaker, text, "", *lists.segment(ours, line))


def _timit(place: pathlib.Path) -> Iterator[Source]:
    """NAME.WAV with NAME.TXT, which has the numbers of its first and last samples before the text.

    Some copies have NAME.WAV.wav beside NAME.WAV, the same audio in another container.
    """
    names = {path.name.lower(): path for path in sorted(place.iterdir())}
    for name, path in names.items():
        if name.endswith(".wav") and not name.startswith(".") and f"{name}.wav" not in names:
            text = names.get(name.removesuffix(".wav").removesuffix(".wav") + ".txt")
            words = re.sub(r"^\s*\d+\s+\d+\s", "", read_text(text)) if text else ""
            yield Source(str(path), place.name, one_line(words))


def _pairs(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """(name, rest) of each line; nothing if there is no such file."""
    if file.is_file():
        for line in read_text(file).splitlines():
            if line.strip():
                name, *rest = line.split(maxsplit=1)
                yield name, one_line(" ".join(rest))


def _audio(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for name in audio_folders.find(folder, SUFFIXES):
        yield folder / name
