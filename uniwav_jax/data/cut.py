"""Cuts long clips into shorter clips with text: at pauses, by TextGrids, or by segments of a list.

CTC training converges faster on short clips, and it leaves out clips longer than the longest
bucket.
"""

import itertools
import pathlib
import sys
import tempfile

import numpy as np

from uniwav_jax.audio.decode import BadAudioError
from uniwav_jax.audio.reader import measure, read_audio
from uniwav_jax.audio.writer import write_audio
from uniwav_jax.data import build, partners
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data.build import COLUMNS
from uniwav_jax.data.lists import Source
from uniwav_jax.data.partners import short_names
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress
from uniwav_jax.text import textgrid


def cut(
    manifest: str, alignments: str, out: str, *, seconds: float = 5.0, pause: float = 0.08
) -> int:
    """Write the pieces of all clips as FLAC files and their manifest.tsv.

    Clips without a TextGrid, and pieces with words outside the aligner's lexicon (<unk>), are left
    out and counted. Clips or TextGrids that cannot be read are left out and named.

    Args:
        manifest: manifest of the clips to cut.
        alignments: folder with a TextGrid for each clip, as `partners.match` finds it.
        out: folder to write to.
        seconds: a piece ends in the middle of the last pause within this length in seconds; if
            there is none, it ends at the next pause.
        pause: minimum length of a pause in seconds.

    Returns:
        The number of clips that cannot be read.

    Raises:
        UserError: no clip has words in `alignments`.
    """
    rows, unknown, failed = [], 0, 0
    target = pathlib.Path(out)
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest_lib.load(manifest, cache=cache)
        names = [corpus.name(row) for row in range(len(corpus))]
        grids = partners.match(names, alignments, ".TextGrid")
        chosen = [row for row, grid in enumerate(grids) if grid]
        places = {row: _place(names[row], corpus.label(row, "speaker")) for row in chosen}
        _check_unique(places, names)
        for row in progress(chosen):
            path, place = corpus.path(row), places[row]
            speaker, *more = (corpus.label(row, name) for name in ("speaker", *corpus.more))
            try:
                words_of_clip = textgrid.tier(str(grids[row]), "words")
                audio, rate = _read(path)
            except UserError as error:
                failed += _report(error)
                continue
            for number, (start, end, words) in enumerate(pieces(words_of_clip, seconds, pause)):
                if any(word.startswith("<") for word in words):
                    unknown += 1
                    continue
                piece = audio[round(start * rate) : round(end * rate)]
                name = place.with_name(f"{place.name}_{number:03d}.flac")
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                write_audio(target / name, [piece], sample_rate=rate, container="FLAC")
                text = " ".join(words)
                rows.append((str(name), str(len(piece)), str(rate), speaker, text, *more))
    if not rows:
        raise UserError(f"no clip of {manifest} has words in {alignments}")
    _write_manifest(target, rows, corpus.more)
    missing = grids.count(None)
    print(f"left out: {missing} clips without a TextGrid, {unknown} pieces with unknown words")
    return failed


def cut_segments(speech: str, out: str) -> int:
    """Write the segments of a list or of a Kaldi folder as FLAC files and their manifest.tsv.

    Files that cannot be read, and segments that end after their files, are left out and named.

    Args:
        speech: list whose rows have start, end or duration in seconds, or folder; see
            `layouts.find_speech` and `lists.read_list`.
        out: folder to write to.

    Returns:
        The number of files and segments that are left out.

    Raises:
        UserError: there is no speech in `speech`, or no segment of it can be read.
    """
    target, rows, failed = pathlib.Path(out), [], 0
    by_path: dict[str, list[Source]] = {}
    for source in build.find(speech):
        by_path.setdefault(source.path, []).append(source)
    names = [pathlib.PurePath(name).with_suffix("") for name in short_names(list(by_path))]
    for name, (path, sources) in zip(names, progress(by_path.items(), len(by_path)), strict=True):
        try:
            audio, rate = _read(path)
        except UserError as error:
            failed += _report(error)
            continue
        for number, source in enumerate(sources):
            end = len(audio) if source.end is None else round(source.end * rate)
            piece = audio[round(source.start * rate) : end]
            if not len(piece) or end > len(audio) + build.TOLERANCE * rate:
                failed += _report(
                    f"{path} lasts {len(audio) / rate:.2f} s; its segment from {source.start:g} s"
                    f" to {end / rate:g} s is not in it"
                )
                continue
            place = name.with_name(f"{name.name}_{number:05d}.flac")
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            write_audio(target / place, [piece], sample_rate=rate, container="FLAC")
            rows.append((str(place), str(len(piece)), str(rate), source.speaker, source.text))
    if not rows:
        raise UserError(f"{speech}: no segment of it can be read")
    _write_manifest(target, rows)
    return failed


def _read(path: str) -> tuple[np.ndarray, int]:
    """All samples of a file, int16 at its own rate, and that rate in Hz."""
    try:
        _, rate = measure(path)
        return read_audio(path, sample_rate=rate), rate
    except BadAudioError as error:
        raise UserError(f"{path} {error}") from error


def _report(error: object) -> int:
    """Print the error of one file, while the others are still cut; returns 1."""
    print(f"error: {error}", file=sys.stderr)
    return 1


def _write_manifest(
    target: pathlib.Path, rows: list[tuple[str, ...]], more: tuple[str, ...] = ()
) -> None:
    build.write_table(target / "manifest.tsv", (*COLUMNS, *more), rows)
    hours = sum(int(samples) / int(rate) for _, samples, rate, *_ in rows) / 3600
    print(f"{target}/manifest.tsv: {len(rows)} clips, {hours:.2f} h")


def _place(name: str, speaker: str) -> pathlib.PurePath:
    """Path of a clip's pieces in the new corpus, without number and suffix."""
    path = pathlib.PurePath(name).with_suffix("")
    inside = not path.is_absolute() and ".." not in path.parts
    return path if inside else pathlib.PurePath(speaker, path.name)


def _check_unique(places: dict[int, pathlib.PurePath], names: list[str]) -> None:
    first: dict[pathlib.PurePath, int] = {}
    for row, place in places.items():
        if (other := first.setdefault(place, row)) != row:
            raise UserError(
                f"the pieces of {names[other]} and {names[row]} would have the same names; rename"
                " one of them, or put the manifest into the folder of the clips"
            )


def pieces(
    intervals: list[tuple[float, float, str]], seconds: float, pause: float
) -> list[tuple[float, float, list[str]]]:
    """Divide a clip at pauses.

    Args:
        intervals: (start, end, label) in the clip's tier of words, times in seconds.
        seconds: see `cut`.
        pause: see `cut`.

    Returns:
        (start, end, words) of each piece that has words, times in seconds.
    """
    cuts, found = [intervals[0][0]], []
    ends = [
        (start + end) / 2
        for start, end, label in intervals[1:-1]
        if textgrid.is_silence(label) and end - start >= pause
    ]
    ends.append(intervals[-1][1])
    for place, end in enumerate(ends):
        last = place + 1 == len(ends)
        if last or ends[place + 1] - cuts[-1] > seconds:
            cuts.append(end)
    for start, end in itertools.pairwise(cuts):
        words = [
            label
            for a, b, label in intervals
            if start <= (a + b) / 2 < end and not textgrid.is_silence(label)
        ]
        if words:
            found.append((start, end, words))
    return found
