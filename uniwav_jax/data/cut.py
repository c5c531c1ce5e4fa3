"""Cuts long clips at pauses into shorter clips with text, using TextGrids with a tier of words.

CTC training converges faster on short clips, and it leaves out clips longer than the longest
bucket.
"""

import itertools
import pathlib
import tempfile

import soundfile

from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data.build import COLUMNS
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress
from uniwav_jax.text import textgrid


def cut(
    manifest: str, alignments: str, out: str, *, seconds: float = 5.0, pause: float = 0.08
) -> None:
    """Write the pieces of all clips as FLAC files and their manifest.tsv.

    Clips without a TextGrid, and pieces with words outside the aligner's lexicon (<unk>), are left
    out and counted.

    Args:
        manifest: manifest of the clips to cut.
        alignments: folder with a TextGrid for each audio file NAME.*, called NAME.TextGrid.
        out: folder to write to.
        seconds: a piece ends in the middle of the last pause within this length in seconds; if
            there is none, it ends at the next pause.
        pause: minimum length of a pause in seconds.

    Raises:
        UserError: no clip has words in `alignments`.
    """
    rows, missing, unknown = [], 0, 0
    target, grids = pathlib.Path(out), pathlib.Path(alignments)
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest_lib.load(manifest, cache=cache)
        for row in progress(range(len(corpus))):
            path = pathlib.Path(corpus.path(row))
            grid = grids / f"{path.stem}.TextGrid"
            if not grid.is_file():
                missing += 1
                continue
            audio, rate = soundfile.read(path, dtype="int16")
            speaker = corpus.label(row, "speaker")
            folder = target / (speaker or ".")
            folder.mkdir(parents=True, exist_ok=True)
            for number, (start, end, words) in enumerate(
                pieces(textgrid.tier(str(grid), "words"), seconds, pause)
            ):
                if any(word.startswith("<") for word in words):
                    unknown += 1
                    continue
                piece = audio[round(start * rate) : round(end * rate)]
                file = folder / f"{path.stem}_{number:03d}.flac"
                soundfile.write(file, piece, rate, subtype="PCM_16")
                name = str(file.relative_to(target))
                rows.append((name, str(len(piece)), str(rate), speaker, " ".join(words)))
    if not rows:
        raise UserError(f"no clip of {manifest} has words in {alignments}")
    lines = ["\t".join(row) + "\n" for row in (COLUMNS, *rows)]
    (target / "manifest.tsv").write_text("".join(lines), encoding="utf-8")
    hours = sum(int(samples) / int(rate) for _, samples, rate, *_ in rows) / 3600
    print(f"{target}/manifest.tsv: {len(rows)} clips, {hours:.2f} h")
    print(f"left out: {missing} clips without a TextGrid, {unknown} pieces with unknown words")


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
        if label in textgrid.SILENCES and end - start >= pause
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
            if start <= (a + b) / 2 < end and label not in textgrid.SILENCES
        ]
        if words:
            found.append((start, end, words))
    return found
