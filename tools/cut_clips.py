#!/usr/bin/env python
"""Cut long clips at their pauses, by TextGrids with a tier of words, into clips with text.

    uniwav align long.tsv --checkpoint runs/asr --out aligned
    python tools/cut_clips.py long.tsv --alignments aligned --seconds 5 --out data/short

CTC learns sooner from short clips, and clips beyond the longest bucket are not learnt from at all.
The TextGrids may be those of the Montreal Forced Aligner. Each piece ends in the middle of the last
pause before --seconds; where there is none it runs to the next pause. OUT gets FLAC files and
manifest.tsv. Clips without a TextGrid and pieces with words that the aligner did not know (<unk>)
are left out and counted. Needs `pip install -e ".[align]"`.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile

import soundfile
from rich.progress import track

from uniwav_jax.data import manifest
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.text import textgrid

COLUMNS = ("path", "samples", "sample_rate", "speaker", "text")


def main(argv: list[str]) -> int:
    """Cut all clips of a manifest; see the module docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", help="clips to cut")
    parser.add_argument("--alignments", required=True, type=pathlib.Path, help="NAME.TextGrid")
    parser.add_argument("--seconds", type=float, default=5.0, help="at most; default: 5")
    parser.add_argument("--pause", type=float, default=0.08, help="seconds of silence; default .08")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder")
    args = parser.parse_args(argv)
    rows, missing, unknown = [], 0, 0
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(args.manifest, cache=cache)
        for row in track(range(len(corpus)), "", disable=not sys.stdout.isatty()):
            path = pathlib.Path(corpus.path(row))
            grid = args.alignments / f"{path.stem}.TextGrid"
            if not grid.is_file():
                missing += 1
                continue
            audio, rate = soundfile.read(path, dtype="int16")
            speaker = corpus.label(row, "speaker")
            folder = args.out / (speaker or ".")
            folder.mkdir(parents=True, exist_ok=True)
            for number, (start, end, words) in enumerate(
                pieces(textgrid.tier(str(grid), "words"), args.seconds, args.pause)
            ):
                if any(word.startswith("<") for word in words):
                    unknown += 1
                    continue
                piece = audio[round(start * rate) : round(end * rate)]
                target = folder / f"{path.stem}_{number:03d}.flac"
                soundfile.write(target, piece, rate, subtype="PCM_16")
                name = str(target.relative_to(args.out))
                rows.append((name, str(len(piece)), str(rate), speaker, " ".join(words)))
    if not rows:
        raise UserError(f"no clip of {args.manifest} has words in {args.alignments}")
    lines = ["\t".join(row) + "\n" for row in (COLUMNS, *rows)]
    (args.out / "manifest.tsv").write_text("".join(lines), encoding="utf-8")
    hours = sum(int(samples) / int(rate) for _, samples, rate, *_ in rows) / 3600
    print(f"{args.out}/manifest.tsv: {len(rows)} clips, {hours:.2f} h")
    print(f"left out: {missing} clips without a TextGrid, {unknown} pieces with unknown words")
    return 0


def pieces(
    intervals: list[tuple[float, float, str]], seconds: float, pause: float
) -> list[tuple[float, float, list[str]]]:
    """Start, end and words of the pieces of a clip whose tier of words is given."""
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


if __name__ == "__main__":
    run_tool(main)
