"""Builds a manifest of the speech in a folder or in a list of files.

A manifest is tab-separated with a header line: path, samples (of one channel at the file's own
rate), sample_rate (Hz), speaker, text. Paths of files in the manifest's folder are relative to it,
other paths are absolute. Lengths come from the files' headers where those are reliable; other
files are decoded.
"""

import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.reader import measure
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

COLUMNS = ("path", "samples", "sample_rate", "speaker", "text")
ALIASES = {  # {column name in the lists of other toolkits: our name}
    **dict.fromkeys(("path", "audio_filepath", "audio", "wav"), "path"),
    **dict.fromkeys(("text", "transcript"), "text"),
    **dict.fromkeys(("speaker", "speaker_id"), "speaker"),
}
CHUNK = 64  # files per job; a million jobs of one file each would need gigabytes of memory
MIN_SPEAKERS = 10  # with fewer speakers, files are chosen for the evaluation set, not speakers


class Source(NamedTuple):
    """A file to read: its absolute path, speaker and text ("" if unknown)."""

    path: str
    speaker: str
    text: str


class Clip(NamedTuple):
    """A readable file: its source, number of samples per channel and sample rate in Hz."""

    source: Source
    samples: int
    sample_rate: int


class Rejected(NamedTuple):
    """An unreadable file and the reason."""

    path: str
    reason: str


def build(
    speech: str,
    out: str,
    *,
    eval_out: str | None = None,
    eval_fraction: float = 0.05,
    min_seconds: float = 0.0,
    speaker_from_folder: bool = False,
    workers: int = 16,
) -> None:
    """Write a manifest, print a summary of it, and list the files that cannot be read.

    Args:
        speech: folder, searched with all its subfolders, or a .tsv or .jsonl list with a column
            `path`.
        out: manifest to write; unreadable files are listed next to it in NAME.rejected.tsv.
        eval_out: second manifest, for an evaluation set.
        eval_fraction: maximum share of the seconds in the evaluation set, in (0, 1).
        min_seconds: shorter clips are left out.
        speaker_from_folder: True takes the name of the file's folder as the speaker.
        workers: threads that read headers.

    Raises:
        UserError: there is nothing to write, or a path or number is not usable.
    """
    if not 0 < eval_fraction < 1:
        raise UserError(f"--eval_fraction must lie between 0 and 1; got {eval_fraction:g}")
    if workers < 1:
        raise UserError(f"--workers must be at least 1; got {workers}")
    source = pathlib.Path(os.path.abspath(speech))
    target, *more = (pathlib.Path(os.path.abspath(p)) for p in (out, eval_out) if p)
    if len({source, target, *more}) < 2 + len(more):
        raise UserError("the speech, --out and --eval_out must be different files")
    if source.is_dir():
        root, sources = source, list(find_speech(source, speaker_from_folder))
    elif source.is_file():
        root, sources = source.parent, list(read_list(source, speaker_from_folder))
    else:
        raise UserError(f"{speech}: no such folder or list of files")
    if not sources:
        raise UserError(f"{speech}: no audio in it (looked for {' '.join(SUFFIXES)})")
    for path in (target, *more):
        _check_writable(path.parent)

    unique = {source.path: source for source in reversed(sources)}  # keeps the first of equal paths
    clips, rejected = read_headers([unique[p] for p in sorted(unique)], workers=workers)
    _report_rejected(rejected, target.with_suffix(".rejected.tsv"))
    if not clips:
        raise UserError(f"{speech}: none of its {len(rejected)} files can be read")
    long_enough = [c for c in clips if c.samples >= min_seconds * c.sample_rate]
    if not long_enough:
        raise UserError(
            f"{speech}: none of its {len(clips)} clips lasts --min_seconds ({min_seconds:g} s) or"
            " longer"
        )
    parts = [long_enough]
    if more:
        parts = split(long_enough, root=str(root), fraction=eval_fraction)
    for path, part in zip((target, *more), parts, strict=True):
        write_table(path, COLUMNS, (_row(clip, path.parent) for clip in part))
        print(f"{path}: {describe(part)}")
    if len(unique) < len(sources):
        print(f"repeated: {len(sources) - len(unique)} rows name a file of an earlier row")
    if len(long_enough) < len(clips):
        print(f"left out: {len(clips) - len(long_enough)} shorter than {min_seconds:g} s")
    print(f"rejected: {len(rejected)}")


def find_speech(folder: pathlib.Path, speaker_from_folder: bool = False) -> Iterator[Source]:
    """Every audio file in `folder` and its subfolders, with the text in the same folder.

    Text comes from NAME.txt, or from LibriSpeech's SPEAKER-CHAPTER.trans.txt (lower-cased). The
    speaker comes from LibriSpeech's layout SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE. Hidden files
    and folders are skipped, because macOS leaves stubs `._NAME.wav` on other file systems.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # reached again by a symbolic link
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        transcripts: dict[str, str] = {}
        for name in names:
            if name.endswith(".trans.txt"):
                lines = _read_text(os.path.join(place, name)).splitlines()
                pairs = (line.partition(" ") for line in lines)
                transcripts.update((key, text.lower()) for key, _, text in pairs)
        present = set(names)
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            text = transcripts.get(stem, "")
            if f"{stem}.txt" in present:
                text = _read_text(os.path.join(place, f"{stem}.txt"))
            path = os.path.join(place, name)
            yield Source(path, _speaker(path, speaker_from_folder), _one_line(text))


def read_list(file: pathlib.Path, speaker_from_folder: bool = False) -> Iterator[Source]:
    """The files in a tab-separated list with a header, or in JSON lines; columns as in `ALIASES`.

    Relative paths start at the list's folder.

    Raises:
        UserError: there is no column of paths, or a line is malformed or has an empty path; the
            message names the line.
    """
    lines = _read_text(file).split("\n")  # splitlines would also cut at separators inside a text
    names = lines[0].split("\t")
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
        row = _json_row(line, place) if json_lines else _cells(names, line, place)
        ours = {ALIASES[name]: value for name, value in row.items() if name in ALIASES and value}
        if not isinstance(ours.get("path"), str):
            raise UserError(f"{place}: no 'path' in this row; found: {', '.join(row)}")
        path = os.path.abspath(os.path.join(file.parent, ours["path"]))
        speaker = _one_line(str(ours.get("speaker", ""))) or _speaker(path, speaker_from_folder)
        yield Source(path, speaker, _one_line(str(ours.get("text", ""))))


def read_headers(sources: list[Source], workers: int = 16) -> tuple[list[Clip], list[Rejected]]:
    """Lengths and rates from the files' headers, in the given order, and the unreadable files."""
    chunks = [sources[i : i + CHUNK] for i in range(0, len(sources), CHUNK)]
    results: list[Clip | Rejected] = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda chunk: [_read_header(source) for source in chunk], chunks)
        for chunk in progress(done, len(chunks), "Reading headers"):
            results += chunk
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if isinstance(result, Rejected)]


def split(clips: list[Clip], root: str, fraction: float) -> tuple[list[Clip], list[Clip]]:
    """Divide clips into training clips and evaluation clips.

    The evaluation clips have at most `fraction` of the seconds, but there is at least one. With at
    least `MIN_SPEAKERS` speakers, all clips of a speaker are on the same side; with fewer, and for
    clips without a speaker, files are chosen by their path relative to `root`, so that the folder
    may move. The order of the choice is that of a hash of the names, so that the same corpus is
    divided in the same way everywhere.

    Raises:
        UserError: there are too few clips or speakers for two sides.
    """
    by_speaker = len({clip.source.speaker for clip in clips} - {""}) >= MIN_SPEAKERS
    names = [
        (by_speaker and clip.source.speaker) or os.path.relpath(clip.source.path, root)
        for clip in clips
    ]
    seconds: collections.Counter[str] = collections.Counter()
    for clip, name in zip(clips, names, strict=True):
        seconds[name] += clip.samples / clip.sample_rate
    if len(seconds) < 2:
        raise UserError("one clip cannot be split in two; leave out --eval_out")
    order = sorted(seconds, key=lambda name: hashlib.blake2b(name.encode()).digest())
    left = fraction * seconds.total()
    chosen = set()
    for name in order:
        if seconds[name] <= left:  # otherwise the next speaker, who may have less speech, is tried
            chosen.add(name)
            left -= seconds[name]
    chosen = chosen or {order[0]}
    train = [clip for clip, name in zip(clips, names, strict=True) if name not in chosen]
    return train, [clip for clip, name in zip(clips, names, strict=True) if name in chosen]


def write_table(path: pathlib.Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write tab-separated rows under a header; after an error there is no incomplete file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n", errors="backslashreplace") as file:
            file.write("\t".join(columns) + "\n")
            file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def describe(clips: list[Clip]) -> str:
    """One line with the numbers of hours, clips, speakers and texts, and the sample rates."""
    hours = sum(clip.samples / clip.sample_rate for clip in clips) / 3600
    speakers = len({clip.source.speaker for clip in clips} - {""})
    texts = sum(bool(clip.source.text) for clip in clips)
    rates = collections.Counter(clip.sample_rate for clip in clips)
    listed = ", ".join(f"{rate} Hz: {count}" for rate, count in sorted(rates.items()))
    return f"{hours:.2f} h, {len(clips)} clips ({listed}), {speakers} speakers, {texts} with text"


def _read_header(source: Source) -> Clip | Rejected:
    # Python decodes bytes of a name that are not UTF-8 to surrogates.
    if re.search("[\t\n\r\ud800-\udfff]", source.path):
        return Rejected(_one_line(source.path), "its name cannot be written to a table; rename it")
    try:
        samples, rate = measure(source.path)
    except BadAudioError as error:
        return Rejected(source.path, _one_line(str(error)))
    return Clip(source, samples, rate)


def _report_rejected(rejected: list[Rejected], table: pathlib.Path) -> None:
    table.unlink(missing_ok=True)  # of an earlier run
    if rejected:
        write_table(table, Rejected._fields, rejected)
        for path, reason in rejected[:10]:
            print(f"rejected: {path}: {reason}", file=sys.stderr)
        if len(rejected) > 10:
            print(f"rejected: {len(rejected) - 10} more in {table}", file=sys.stderr)


def _row(clip: Clip, folder: pathlib.Path) -> tuple[str, int, int, str, str]:
    path, speaker, text = clip.source
    path = path.removeprefix(os.path.join(folder, ""))
    return path, clip.samples, clip.sample_rate, speaker, text


def _speaker(path: str, from_folder: bool) -> str:
    *_, speaker, chapter, name = ("", "", *path.split(os.sep))
    if name.startswith(f"{speaker}-{chapter}-"):  # LibriSpeech
        return speaker
    return _one_line(chapter) if from_folder else ""


def _cells(names: list[str], line: str, place: str) -> dict[str, str]:
    cells = line.split("\t")
    if len(cells) > len(names):
        raise UserError(f"{place}: {len(cells)} cells under {len(names)} column names")
    return dict(zip(names, cells, strict=False))


def _json_row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a line must be a JSON object")
    return row


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _check_writable(folder: pathlib.Path) -> None:
    """Raise a `UserError` if the result cannot be written, before a million headers are read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot write into this folder ({error.strerror})") from error
