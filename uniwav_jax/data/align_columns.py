"""Adds the columns `phones` and `phone_ends` to a manifest, from TextGrids."""

import os
import pathlib
import sys
import tempfile

from uniwav_jax.data import build, manifest, partners
from uniwav_jax.data.phone_labels import COLUMNS
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress
from uniwav_jax.text import phones

MAX_MISFIT = 0.5  # seconds between the ends of a clip and of its TextGrid


def add(source: str, alignments: str, out: str) -> int:
    """Write a manifest of the clips that have a TextGrid, with their phones.

    Args:
        source: manifest of files.
        alignments: folder of NAME.TextGrid with tiers "phones" and "words".
        out: manifest to write.

    Returns:
        The number of clips whose TextGrid cannot be used; each is reported.

    Raises:
        UserError: no clip has a usable TextGrid, or the manifest cannot be read.
    """
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(source, cache=cache)
    if corpus.packed:
        raise UserError(f"{source} is packed; add the phones to the manifest before it is packed")
    names = [corpus.name(row) for row in range(len(corpus))]
    grids = partners.match(names, alignments, ".TextGrid")
    seconds_N = corpus.samples / corpus.sample_rate
    labels = ("speaker", "text", *(name for name in corpus.more if name not in COLUMNS))
    target = pathlib.Path(out)
    folder = os.path.join(target.absolute().parent, "")
    rows, failed = [], 0
    for row, grid in enumerate(progress(grids, len(grids))):
        if not grid:
            continue
        try:
            found = phones.of_textgrid(grid)
            if abs(found[-1][1] - seconds_N[row]) > MAX_MISFIT:
                raise UserError(
                    f"{grid} ends at {found[-1][1]:.2f} s, but {names[row]} at"
                    f" {seconds_N[row]:.2f} s; align that file again"
                )
        except UserError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        rows.append(
            (
                os.path.abspath(corpus.path(row)).removeprefix(folder),
                str(corpus.samples[row]),
                str(corpus.sample_rate[row]),
                *(corpus.label(row, label) for label in labels),
                " ".join(symbol for *_, symbol in found),
                " ".join(f"{end:.3f}" for _, end, _ in found),
            )
        )
    if not rows:
        raise UserError(f"no clip of {source} has a usable TextGrid in {alignments}")
    build.write_table(target, (*manifest.COLUMNS, *labels, *COLUMNS), rows)
    print(f"{out}: {len(rows)} of {len(names)} clips have phones")
    return failed
