"""Manifests: one row per clip, in a TSV (or JSONL) file or in a folder of packed records.

    path    samples   sample_rate   [speaker]   [text]   [any other label]

`path` is relative to the manifest's folder or absolute; `samples` counts one channel at the file's
own `sample_rate` (Hz). 'uniwav data manifest' writes such files, and 'uniwav data pack' such
folders. The rows are copied to an Arrow file, which reader processes map into memory, so that a
million rows need no memory of each process.
"""

import codecs
import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from etils import epath

from uniwav_jax.errors import UserError

COLUMNS = {"path": pa.large_string(), "samples": pa.int64(), "sample_rate": pa.int32()}
TEXT = pa.large_string()
LABELS = ("speaker", "text")  # may be missing or empty
LAYOUT = 3  # version of the memory-mapped copy, which increases when its columns change


@dataclasses.dataclass
class Manifest:
    """The rows of one corpus.

    Attributes:
        source: the path as the user gave it.
        folder: folder to which paths are relative, or the folder of the packed records.
        packed: True if rows are the records in `folder`, in this order, instead of files.
        digest: hash of the manifest's content.
        cache: path of the memory-mapped Arrow file.
        latents: content of latents.json if the records are latents, otherwise empty.
        speed: factor of tempo and pitch with which the clips are read.
        samples: int64 [N], samples of each clip at its own rate and speed 1.
        sample_rate: int32 [N], Hz.
    """

    source: str
    folder: str
    packed: bool
    digest: str
    cache: str
    latents: dict[str, Any] = dataclasses.field(default_factory=dict)
    speed: float = 1.0

    def __post_init__(self) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(self.cache)).read_all()
        except pa.ArrowInvalid as error:
            raise UserError(f"{self.cache} is damaged ({error}); delete it") from error
        self._table = table
        self.samples = table.column("samples").chunk(0).to_numpy()
        self.sample_rate = table.column("sample_rate").chunk(0).to_numpy()

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # a reader process maps the file again instead of copying it

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def title(self) -> str:
        """The source, and the speed unless it is 1."""
        return self.source + (f" at speed {self.speed:g}" if self.speed != 1 else "")

    @property
    def more(self) -> tuple[str, ...]:
        """Names of the columns that only tasks of users read."""
        return tuple(self._table.column_names[len(COLUMNS) + len(LABELS) :])

    def name(self, row: int) -> str:
        """The value of the manifest's column `path`."""
        return self._table.column("path")[row].as_py()

    def path(self, row: int) -> str:
        """The path of a row's file: absolute, or relative to the current folder."""
        name = self.name(row)
        return name if name.startswith("/") or "://" in name else os.path.join(self.folder, name)

    def label(self, row: int, column: str) -> str:
        """The value of a column other than `COLUMNS`, as text; "" if it is empty.

        Raises:
            UserError: the manifest has no such column; "speaker" and "text" always exist.
        """
        if column not in self._table.column_names:
            known = ", ".join(self._table.column_names)
            raise UserError(f"manifest {self.source} has no column {column} (found: {known})")
        return self._table.column(column)[row].as_py() or ""

    def lengths(self, sample_rate: int, rows: Any = slice(None)) -> np.ndarray:
        """Samples of each clip (or of `rows`) at `sample_rate` and the corpus' speed, int64."""
        rate = np.round(self.sample_rate[rows] * self.speed).astype(np.int64)
        return resampled_length(self.samples[rows], rate, sample_rate)


def resampled_length(samples: Any, rate: Any, new_rate: int) -> Any:
    """Number of samples after resampling from `rate` to `new_rate` (Hz), rounded to the nearest.

    Args:
        samples: int, or an integer array.
        rate: int, or an integer array of the same shape.
        new_rate: Hz.
    """
    return (2 * samples * new_rate + rate) // (2 * rate)


def load(path: str, *, cache: str) -> Manifest:
    """Read a manifest file or a packed folder.

    Args:
        path: TSV or JSONL file, or a folder made by 'uniwav data pack'; local or gs://.
        cache: local folder for the memory-mapped copy; it is created if missing.

    Raises:
        UserError: there is no such file or folder, columns are missing, values have the wrong type,
            or there are no rows.
    """
    file = epath.Path(path)
    packed = file.is_dir()
    if packed:
        file = _packed_folder(file) / "manifest.tsv"
    if not path or not file.exists():
        raise UserError(
            f"manifest {path or '(empty)'} does not exist; make one with 'uniwav data manifest'"
            " and set config.data.manifest"
        )
    content = file.read_bytes()
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    target = pathlib.Path(cache) / f"manifest-{digest}-{LAYOUT}.arrow"
    if not target.exists():
        _write_arrow(_parse(content, path), target)
    latents = file.parent / "latents.json"
    described = json.loads(latents.read_text()) if packed and latents.exists() else {}
    return Manifest(path, str(file.parent), packed, digest, str(target), described)


def load_all(sources: str, *, cache: str, speeds: Sequence[float] = (1.0,)) -> list[Manifest]:
    """The corpora of a run, each at each of the speeds; those of one source follow one another.

    Args:
        sources: paths as for `load`, separated by commas.
        cache: as for `load`.
        speeds: factors of tempo and pitch.

    Raises:
        UserError: as for `load`, or the speed of latents would have to change.
    """
    found = []
    for source in sources.split(","):
        corpus = load(source.strip(), cache=cache)
        if corpus.latents and tuple(speeds) != (1.0,):
            raise UserError(
                f"{corpus.source} has latents, whose speed cannot be changed: set"
                " config.data.speeds=(1.0,), or name the speech that they were made from"
            )
        found += [dataclasses.replace(corpus, speed=float(speed)) for speed in speeds]
    return found


def _packed_folder(folder: epath.Path) -> epath.Path:
    if (folder / "manifest.tsv").exists():
        return folder
    inner = sorted(folder.glob("*/*/dataset_info.json"))
    if len(inner) != 1 or not (inner[0].parent / "manifest.tsv").exists():
        raise UserError(
            f"{folder} is a folder but not one of packed speech; pack it with"
            " 'uniwav data pack', or give the manifest.tsv of a folder of files"
        )
    return inner[0].parent


def _parse(content: bytes, path: str) -> pa.Table:
    content = content.removeprefix(codecs.BOM_UTF8)
    buffer = pa.BufferReader(content)
    try:
        if path.endswith((".jsonl", ".json")):
            table = pa.json.read_json(buffer)
        else:
            header = content.split(b"\n", 1)[0].decode(errors="replace").rstrip("\r").split("\t")
            table = pa.csv.read_csv(
                buffer,
                parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(header, TEXT) | COLUMNS
                ),
            )
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise UserError(
                f"manifest {path} has no column {', '.join(missing)} (found:"
                f" {', '.join(table.column_names)}); 'uniwav data manifest {path} --out FILE'"
                " makes a complete one"
            )
        repeated = [n for n in table.column_names if table.column_names.count(n) > 1]
        if repeated:
            raise UserError(f"manifest {path} has two columns {repeated[0]}; rename one of them")
        for name in LABELS:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), TEXT))
        first = (*COLUMNS, *LABELS)
        names = [*first, *(name for name in table.column_names if name not in first)]
        for place, field in enumerate(table.schema):
            if pa.types.is_nested(field.type):  # lists and objects of JSON
                values = [json.dumps(value) for value in table.column(place).to_pylist()]
                table = table.set_column(place, field.name, pa.array(values, TEXT))
        schema = pa.schema({name: COLUMNS.get(name, TEXT) for name in names})
        table = table.select(names).cast(schema)
    except pa.ArrowInvalid as error:
        raise UserError(f"manifest {path}: {str(error).splitlines()[0]}") from error
    if not len(table):
        raise UserError(f"manifest {path} has no rows")
    for name in COLUMNS:
        if table.column(name).null_count:
            raise UserError(f"manifest {path}: column {name} has empty values")
    if pa.compute.min(table.column("sample_rate")).as_py() <= 0:
        raise UserError(f"manifest {path}: column sample_rate must be positive")
    return table


def _write_arrow(table: pa.Table, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    table = table.combine_chunks()
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    with pa.OSFile(temporary, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    os.replace(temporary, target)
