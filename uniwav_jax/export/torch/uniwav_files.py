"""The files of an export, checked before anything is made of them; needs no package."""

import hashlib
import json
import pathlib
from typing import Any

SCHEMA = 3
CONFIG, WEIGHTS, SUMS = "config.json", "model.safetensors", "SHA256SUMS"


class ExportError(ValueError):
    """The folder is no complete export, or the call does not fit the model; says what to do."""


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """What config.json says of the model."""
    try:
        c = json.loads((path / CONFIG).read_text(encoding="utf-8"))["uniwav"]
        schema = c["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path / CONFIG} cannot be read: {error!r}; export again") from error
    if schema == 2:  # the alphabet was part of recognition
        names = ("symbols", "units", "lexicon", "lowercase")
        text = {"text": {name: c["asr"].pop(name) for name in names}} if "asr" in c else {}
        return {**c, **text, "linear": {}, "schema": SCHEMA}
    if schema != SCHEMA:
        raise ExportError(
            f"{path / CONFIG} has schema {schema!r}; this reader knows {SCHEMA}:"
            " export the checkpoint again with this version"
        )
    return c


def verify(path: pathlib.Path) -> None:
    """Compare all files with SHA256SUMS, as `sha256sum --check` does."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is no export: {SUMS} cannot be read ({error})") from error
    for name in sorted({CONFIG, WEIGHTS} | sums.keys()):
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            raise ExportError(f"{path / name} cannot be read ({error}); export again") from error
        if found != sums.get(name):
            raise ExportError(f"{path / name} is not what was exported; copy or export it again")
