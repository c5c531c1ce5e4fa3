"""Reads and checks the files of an export, with Python's standard library only."""

import hashlib
import json
import pathlib
from typing import Any

SCHEMA = 3
CONFIG, WEIGHTS, SUMS = "config.json", "model.safetensors", "SHA256SUMS"


class ExportError(ValueError):
    """The folder is not a complete export, or the model lacks a part that the call needs."""


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """Read the model's description from config.json, converted to the current schema.

    Raises:
        ExportError: the file is missing, damaged or of another schema.
    """
    try:
        c = json.loads((path / CONFIG).read_text(encoding="utf-8"))["uniwav"]
        schema = c["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path / CONFIG} cannot be read: {error!r}; export again") from error
    if schema == 2:  # the fields of the alphabet were in "asr"
        names = ("symbols", "units", "lexicon", "lowercase")
        text = {"text": {name: c["asr"].pop(name) for name in names}} if "asr" in c else {}
        return {**c, **text, "linear": {}, "schema": SCHEMA}
    if schema != SCHEMA:
        raise ExportError(
            f"{path / CONFIG} has schema {schema!r}, but this version reads {SCHEMA};"
            " export the checkpoint again with this version"
        )
    return c


def verify(path: pathlib.Path) -> None:
    """Compare all files with SHA256SUMS, as `sha256sum --check` does.

    Raises:
        ExportError: a file is missing, unreadable or changed.
    """
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is not an export: {SUMS} cannot be read ({error})") from error
    for name in sorted({CONFIG, WEIGHTS} | sums.keys()):
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            raise ExportError(f"{path / name} cannot be read ({error}); export again") from error
        if found != sums.get(name):
            raise ExportError(f"{path / name} differs from its checksum; copy or export it again")
