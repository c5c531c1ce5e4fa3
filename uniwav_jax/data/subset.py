"""A few minutes of a manifest, for experiments with little labelled speech."""

import csv
import pathlib

import numpy as np

from uniwav_jax.errors import UserError

NEEDED = ("path", "samples", "sample_rate", "text")


def write(manifest: pathlib.Path, target: pathlib.Path, minutes: float) -> float:
    """Write random rows of a manifest, the same in each call; returns their length in minutes.

    Args:
        manifest: manifest with a column "text".
        target: path of the new manifest.
        minutes: largest total length.

    Raises:
        UserError: the manifest cannot be read or lacks a column, no row has a text, or all clips
            are longer than `minutes`.
    """
    try:
        with manifest.open(encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = [row for row in reader if row.get("text")]
            names = reader.fieldnames
    except OSError as error:
        raise UserError(f"{manifest}: {error.strerror}") from error
    if absent := [name for name in NEEDED if name not in (names or ())]:
        raise UserError(
            f"{manifest} has no column {absent[0]}; make it with 'uniwav data manifest'"
        )
    if not rows:
        raise UserError(f"{manifest} has no rows with text")
    total, kept = 0.0, []
    for index in np.random.default_rng(0).permutation(len(rows)):
        seconds = int(rows[index]["samples"]) / int(rows[index]["sample_rate"])
        if total + seconds <= 60 * minutes:
            total += seconds
            path = (manifest.parent / rows[index]["path"]).absolute()
            kept.append({**rows[index], "path": str(path)})
    if not kept:
        raise UserError(f"{manifest}: no clip is as short as {minutes:g} minutes")
    with target.open("w", encoding="utf-8") as file:
        file.write("\t".join(names) + "\n")
        file.writelines("\t".join(row[name] or "" for name in names) + "\n" for row in kept)
    return total / 60
