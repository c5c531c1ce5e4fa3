"""Lists of speech files: tables with a header, and JSON lines, as other toolkits write them.

Tables are separated by tabs, "|", semicolons or commas, whichever the header has. Rows may be
segments of a long recording. `ALIASES` has the names of columns. Two kinds have no header: paths,
one a line, and the manifests of fairseq.
"""

import csv
import io
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.errors import UserError
from uniwav_jax.text.files import read_text

# {our name: names of columns in the lists of toolkits, the most telling one first}
ALIASES = {
    "path": (
        *("path", "audio_filepath", "audio", "wav", "file_name", "filename", "file", "filepath"),
        *("file_path", "audio_path", "audio_file", "wav_filename", "wav_path"),
    ),
    "text": ("normalized_text", "text", "transcript", "transcription", "sentence", "wrd"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id", "spk"),
    "start": ("start", "offset", "begin", "start_time"),
    "end": ("end", "stop", "end_time"),
    "duration": ("duration",),
}
SEPARATORS = "\t|;,"  # of which a header has one; names of columns have none of them
# Times in units other than seconds, which would be ignored.
OTHER_TIMES = re.compile(
    r"(start|begin|end|stop|offset|onset)[_ (\[]*(ms|msecs?|millis\w*|us|ns|samples?|frames?)\W*",
    re.IGNORECASE,
)
FAIRSEQ = re.compile(r"[^\t]+\t\d+")  # path and samples, below a line with the root folder
INSIDE = ("", "clips", "wavs")  # folders beside a list to which its paths may be relative


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


def is_list(file: pathlib.Path) -> bool:
    """Whether `read_list` finds a column of paths in the file."""
    try:
        first = read_text(file).lstrip()
    except UserError:
        return False
    _, names = _header(first.split("\n")[0])
    return first.startswith("{") or bool(set(names) & set(ALIASES["path"]))


def read_list(
    file: pathlib.Path, speaker_from_folder: bool = False, speaker: str = ""
) -> Iterator[Source]:
    """The files in a table, in JSON lines, in a JSON list of objects, or in a list of paths.

    Relative paths start at the list's folder, or at clips/ or wavs/ in it.

    Args:
        file: the list, in UTF-8 (or UTF-16 with a byte-order mark).
        speaker_from_folder: see `layouts.find_speech`.
        speaker: of rows that name none.

    Raises:
        UserError: there is no column of paths, a column has times in another unit than seconds, or
            a line is malformed or has an empty path; the message names the line.
    """
    for place, row in _rows(file):
        ours = _known(row, place)
        path = ours.get("path")
        if isinstance(path, dict):  # the column "audio" of Hugging Face's datasets
            path = path.get("path")
        if not isinstance(path, str):
            raise UserError(f"{place}: no 'path' in this row; found: {', '.join(row)}")
        path = locate(file.parent, path)
        name = one_line(str(ours.get("speaker", ""))) or speaker_of_name(path) or speaker
        if not name and speaker_from_folder:
            name = os.path.basename(os.path.dirname(path))
        text = one_line(str(ours.get("text", "")))
        yield Source(path, one_line(name), text, "", *segment(ours, place))


def locate(folder: pathlib.Path, name: str) -> str:
    """Absolute path of a file that a list in `folder` names, perhaps without its suffix.

    Where there is none, the path that the name would have in the usual place.
    """
    places = [folder / inside for inside in INSIDE if (folder / inside).is_dir()]
    endings = ("",) if name.lower().endswith(SUFFIXES) else ("", ".wav", ".mp3", ".flac")
    found = [os.path.abspath(place / f"{name}{end}") for place in places for end in endings]
    usual = len(endings) if len(places) > 1 and os.sep not in name else 0
    return next((path for path in found if os.path.isfile(path)), found[usual])


def segment(row: dict[str, Any], place: str) -> tuple[float, float | None]:
    """Start and end in seconds of a row with the fields start, end and duration, or some of them.

    Args:
        row: fields with our names.
        place: of the row, for messages.

    Raises:
        UserError: one is no number, or the segment is empty.
    """
    try:
        times = {name: float(row[name]) for name in ("start", "end", "duration") if name in row}
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: start, end and duration are seconds ({error})") from error
    start = times.get("start", 0.0)
    end = times.get("end", start + times["duration"] if "duration" in times else None)
    if not start >= 0 or (end is not None and not end > start):
        raise UserError(f"{place}: the segment from {start} s to {end} s has no audio")
    return start, end


def _rows(file: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place, for messages, and fields of each row that is not empty."""
    content = read_text(file)
    start = content.lstrip()[:1]
    if start == "[":
        yield from _json_list(content, file)
        return
    lines = content.split("\n")  # splitlines would also cut at separators inside a text
    if start == "{":
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{file}:{number}", json_row(line, f"{file}:{number}")
        return
    separator, found = _header(lines[0])
    if not set(found) & set(ALIASES["path"]):
        if rows := _without_header(lines, file):
            yield from rows
            return
        raise UserError(
            f"{file}: no column 'path' in its header line; found:"
            f" {', '.join(found)[:80] or 'none'}. The first line of a table names its columns, of"
            f" which one is {', '.join(ALIASES['path'][:5])}; they are separated by tabs, commas,"
            " semicolons or |. A list without a header has one path of an audio file on each line"
        )
    if separator == "\t":
        cells_of_lines = ((number, _tab_cells(line)) for number, line in enumerate(lines, 1))
    else:
        cells_of_lines = _csv_cells(content, separator, file)
    names = _names(next(cells_of_lines)[1])
    for number, cells in cells_of_lines:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{file}:{number}"
        if len(cells) > len(names):
            raise UserError(f"{place}: {len(cells)} cells under {len(names)} column names")
        yield place, dict(zip(names, cells, strict=False))


def _without_header(lines: list[str], file: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a list of paths or of a manifest of fairseq; none for other files.

    The texts of NAME.tsv of fairseq are the lines of NAME.wrd or, in letters, of NAME.ltr.

    Raises:
        UserError: fairseq's root folder does not exist, or there are more or fewer texts.
    """
    rows = [(f"{file}:{n}", line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    if all(line.lower().endswith(SUFFIXES) and "\t" not in line for _, line in rows):
        return [(place, {"path": line}) for place, line in rows]
    (place, root), *rows = rows
    if not rows or "\t" in root or not all(FAIRSEQ.fullmatch(line) for _, line in rows):
        return []
    if not (file.parent / root).is_dir():
        raise UserError(
            f"{place}: there is no folder {root}, to which the paths of this manifest of fairseq"
            " are relative; correct its first line"
        )
    texts = [""] * len(rows)
    for beside in (file.with_suffix(".ltr"), file.with_suffix(".wrd")):
        if beside.is_file():
            texts = read_text(beside).removesuffix("\n").split("\n")
            if len(texts) != len(rows):
                raise UserError(f"{beside}: {len(texts)} texts for {len(rows)} files of {file}")
            if beside.suffix == ".ltr":
                texts = [text.replace(" ", "").replace("|", " ") for text in texts]
    paths = (str(file.parent / root / line.split("\t")[0]) for _, line in rows)
    fields = [{"path": path, "text": text} for path, text in zip(paths, texts, strict=True)]
    return [(place, row) for (place, _), row in zip(rows, fields, strict=True)]


def _json_list(content: str, file: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON ({error.msg})") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{file}: entry {number} must be a JSON object")
        yield f"{file}: entry {number}", row


def _header(line: str) -> tuple[str, list[str]]:
    """The character that separates the columns of a header line, and their names."""
    separator = next((sign for sign in SEPARATORS if sign in line), "\t")
    return separator, _names(_tab_cells(line, separator))


def _names(cells: Sequence[str]) -> list[str]:
    """Names of columns, in lower case where they are ours in another case."""
    known = {name for names in ALIASES.values() for name in names}
    stripped = (cell.strip() for cell in cells)
    return [name.lower() if name.lower() in known else name for name in stripped]


def _tab_cells(line: str, separator: str = "\t") -> list[str]:
    r"""Cells of a line, without the quotes around a cell, as spreadsheets write them.

    A cell may begin with a quotation mark of its text, so it is unquoted only as a whole.
    """
    cells = line.rstrip("\r\n").split(separator)
    quoted = re.compile(r'"(?:[^"]|"")*"')
    return [c[1:-1].replace('""', '"') if quoted.fullmatch(c) else c for c in cells]


def _csv_cells(content: str, separator: str, file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """Number of the line, and cells, of each row; a quoted cell may have several lines."""
    quoting = csv.QUOTE_NONE if separator == "|" else csv.QUOTE_MINIMAL
    reader = csv.reader(
        io.StringIO(content, newline=""), delimiter=separator, quoting=quoting, strict=True
    )
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(
            f"{file}:{reader.line_num}: {error}; a cell with a comma or a quotation mark stands in"
            ' quotation marks, which are doubled inside ("")'
        ) from error


def _known(row: dict[str, Any], place: str) -> dict[str, Any]:
    """The fields of `ALIASES` that have a value, by our names."""
    given = {name: value for name, value in row.items() if value not in ("", None)}
    for name in given:
        if OTHER_TIMES.fullmatch(name):
            raise UserError(
                f"{place}: the column {name} is not read: give start (or offset), end or duration,"
                " in seconds"
            )
    chosen = {ours: [name for name in names if name in given] for ours, names in ALIASES.items()}
    return {ours: given[names[0]] for ours, names in chosen.items() if names}


def json_row(line: str, place: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it is not JSON, or no object.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON, one object a line ({error.msg})") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a line must be a JSON object")
    return row


def speaker_of_name(path: str) -> str:
    """The speaker in LibriSpeech's SPEAKER/CHAPTER/SPEAKER-CHAPTER-..., or LibriTTS's with "_"."""
    *_, speaker, chapter, name = ("", "", *path.split(os.sep))
    found = speaker and any(name.startswith(f"{speaker}{c}{chapter}{c}") for c in "-_")
    return speaker if found else ""


def one_line(text: str) -> str:
    """The text with single spaces in place of all white space."""
    return " ".join(text.split())
