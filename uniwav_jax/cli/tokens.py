"""`uniwav info`: what files of speech tokens contain."""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError

if TYPE_CHECKING:
    from uniwav_jax.tokens.tally import Tally
    from uniwav_jax.tokens.value import Tokens

LONGEST = 70  # characters of a text that are shown


def info(parser: argparse.ArgumentParser) -> Run:
    """What files of speech tokens contain: .uwt, .npz and .parquet.

    Rates are in bit/s: "payload" is what the books could express, "entropy" what codes of these
    frequencies need, "runs" the same for codes and lengths of runs of equal codes, and "file" what
    the file takes, with its texts and prompts. Entropies of a short clip are too low, because it
    cannot use a whole book; the last lines are of all files together.

    The damaged parts of a file are listed, a file that cannot be read is named, and the status is 1
    then; the others are shown.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    return _info


def _info(args: argparse.Namespace) -> int:
    from uniwav_jax.tokens import files as token_files
    from uniwav_jax.tokens.tally import Tally

    sources, failed, pooled = files.find(args.sources, token_files.SUFFIXES), 0, {}
    for path, _ in sources:
        tallies, damage, tokens = defaultdict(Tally), [], None
        try:
            for tokens in token_files.read_all(path):
                kind = (tokens.model, tokens.book_sizes, tokens.frame_rate)
                tallies[kind].add(tokens)
                pooled.setdefault(kind, Tally()).add(tokens)
                damage += [f"{path}: {line}" for line in tokens.damage]
        except UserError as error:
            damage.append(str(error))
        size = os.path.getsize(path)
        for kind, tally in tallies.items():
            pooled[kind].file_bytes += size
            tally.file_bytes = size
            print(f"{path}: {_summary(tally, *kind)}")
            if tally.clips == len(tallies) == 1:
                print("".join(f"  {line}\n" for line in _of_clip(tokens)), end="")
        failed += sum(map(files.report, damage))
    for kind, tally in pooled.items():
        if len(sources) > 1 and tally.clips > 1:
            print(f"together: {_summary(tally, *kind)}")
    return int(failed > 0)


def _summary(tally: "Tally", model: str, sizes: tuple[int, ...], frame_rate: float) -> str:
    """One line on the clips, and lines on their rates and books."""
    from uniwav_jax.measures import information

    file_rate = f"{8 * tally.file_bytes / tally.seconds:.0f}" if tally.seconds else "-"
    side = f", of them {tally.prompt_bytes} of prompts" if tally.prompt_bytes else ""
    lines = [
        f"{tally.clips} clip{'s' * (tally.clips > 1)}, {tally.seconds:.2f} s, {tally.frames} frames"
        f" of {' + '.join(map(str, sizes))} codewords, {frame_rate:g} per second, model {model}",
        f"payload {tally.payload:.0f}, entropy {tally.entropy:.0f}, runs {tally.run_entropy:.0f},"
        f" file {file_rate} bit/s ({tally.file_bytes} bytes{side})",
    ]
    for book, counts in enumerate(tally.counts, 1):
        lines.append(
            f"book {book}: {100 * information.use(counts):.1f} % of the codewords used, perplexity"
            f" {information.perplexity(counts):.1f}"
        )
    return "\n  ".join(lines)


def _of_clip(tokens: "Tokens") -> Iterator[str]:
    """Lines on the texts and the prompt of a file's only clip."""
    for name in ("id", "text"):
        value = " ".join(getattr(tokens, name).split())
        if value:
            yield f"{name}: {value if len(value) <= LONGEST else value[:LONGEST] + ' ...'}"
    if tokens.prompt is not None:
        frames, channels = tokens.prompt.shape
        yield f"prompt: {frames} frames of {channels} channels, {tokens.prompt_name}"
    elif tokens.prompt_name:
        yield f"prompt: {tokens.prompt_name}, which the file names but does not contain"
