"""Builds a manifest of the speech in a folder or in a list of files.

A manifest is tab-separated with a header line: path, samples (of one channel at the file's own
rate), sample_rate (Hz), speaker, text. Paths of files in the manifest's folder are relative to it,
other paths are absolute. Lengths come from the files' headers where those are reliable; other
files are decoded.
"""

import collections
import concurrent.futures
import hashlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterable
from typing import Any, NamedTuple

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.reader import measure
from uniwav_jax.data.layouts import find_speech
from uniwav_jax.data.lists import Source, one_line, read_list
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

COLUMNS = ("path", "samples", "sample_rate", "speaker", "text")
CHUNK = 64  # files per job; a million jobs of one file each would need gigabytes of memory
MISSING = 0.5  # seconds that must be missing for a warning; lists may round
TOLERANCE = 0.05  # seconds by which the length in a list may differ from that of the file


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
        speech: folder, searched with all its subfolders, or a list with a column `path`, as
            `lists.read_list` reads it.
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
    root = source if source.is_dir() else source.parent
    sources = find(speech, speaker_from_folder)
    for path in (target, *more):
        _check_writable(path.parent)

    # Of equal rows the first one is kept.
    unique = {(source.path, source.start, source.end): source for source in reversed(sources)}
    ordered = sorted(unique.values(), key=lambda source: (source.path, source.start))
    clips, rejected = read_headers(ordered, workers=workers)
    segments = [clip for clip in clips if is_segment(clip)]
    if segments:
        path, _, _, _, start, end = segments[0].source
        until = f"{end:g} s" if end is not None else "its end"
        raise UserError(
            f"{speech}: {len(segments)} rows are segments of longer files, such as {path} from"
            f" {start:g} s to {until}; cut them first: uniwav data cut {speech} --out FOLDER"
        )
    _warn_of_short(clips)
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


def find(speech: str, speaker_from_folder: bool = False) -> list[Source]:
    """The speech in a folder, or in a list of files.

    Raises:
        UserError: there is no such folder or list, or no audio in it.
    """
    source = pathlib.Path(os.path.abspath(speech))
    if source.is_dir():
        sources = list(find_speech(source, speaker_from_folder))
    elif source.is_file():
        sources = list(read_list(source, speaker_from_folder))
    else:
        raise UserError(f"{speech}: no such folder or list of files")
    if not sources:
        raise UserError(f"{speech}: no audio in it (looked for {' '.join(SUFFIXES)})")
    return sources


def is_segment(clip: Clip) -> bool:
    """Whether the source is only a part of its file."""
    seconds, end = clip.samples / clip.sample_rate, clip.source.end
    return clip.source.start > 0 or (end is not None and end < seconds - TOLERANCE)


def _warn_of_short(clips: list[Clip]) -> None:
    """Warn of files that end before their list says, as those of which a copy was interrupted."""
    short = [
        clip
        for clip in clips
        if (clip.source.end or 0.0) > clip.samples / clip.sample_rate + MISSING
    ]
    if short:
        path, *_, end = short[0].source
        print(
            f"warning: {len(short)} files are shorter than the list says, such as {path}:"
            f" {short[0].samples / short[0].sample_rate:.2f} s of {end:g} s; if their ends are"
            " missing, copy them again"
        )


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

    All clips of a speaker are on the same side if at least two speakers are known. Clips without a
    speaker, and those of the only one, are divided by utterance, or by their path relative to
    `root`, so that the folder may move. The evaluation clips have at most `fraction` of the
    seconds, or else one speaker or utterance, the one with the least speech. The order of the
    choice is that of a hash of the names, so that the same corpus is divided in the same way
    everywhere.

    Raises:
        UserError: one clip cannot be divided.
    """
    by_speaker = len({clip.source.speaker for clip in clips} - {""}) > 1
    names = [
        (by_speaker and clip.source.speaker)
        or clip.source.utterance
        or os.path.relpath(clip.source.path, root)
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
    chosen = chosen or {min(order, key=lambda name: seconds[name])}
    train = [clip for clip, name in zip(clips, names, strict=True) if name not in chosen]
    held_out = [clip for clip, name in zip(clips, names, strict=True) if name in chosen]
    share = sum(seconds[name] for name in chosen) / seconds.total()
    if share > fraction:
        print(f"note: the evaluation set has {share:.0%} of the speech: no speaker has less")
    if any(not clip.source.speaker for clip in clips) or not by_speaker:
        print(
            "warning: the speakers of some clips are unknown, or there is only one; the same"
            " speakers may be in training and evaluation (see --speaker_from_folder)"
        )
    return train, held_out


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
        return Rejected(one_line(source.path), "its name cannot be written to a table; rename it")
    try:
        samples, rate = measure(source.path)
    except BadAudioError as error:
        return Rejected(source.path, one_line(str(error)))
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
    path, speaker, text, *_ = clip.source
    path = path.removeprefix(os.path.join(folder, ""))
    return path, clip.samples, clip.sample_rate, speaker, text


def _check_writable(folder: pathlib.Path) -> None:
    """Raise a `UserError` if the result cannot be written, before a million headers are read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot write into this folder ({error.strerror})") from error
