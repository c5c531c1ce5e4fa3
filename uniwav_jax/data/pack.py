"""Packs the clips of a manifest into ArrayRecord shards: few files, which need no decoding.

The result is a tensorflow-datasets folder with a manifest.tsv inside, which `config.data.manifest`
may name. TensorFlow is not needed.
"""

import concurrent.futures
import itertools
import os
import pathlib
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import packed
from uniwav_jax.data.sources import BadAudioError, read_audio
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

WORKERS = min(os.cpu_count() or 1, 16)


def pack(
    manifest: str,
    out: str,
    *,
    sample_rate: int = 16000,
    shard_seconds: float = 7200.0,
    workers: int = WORKERS,
) -> None:
    """Write the packed records; unreadable clips are left out and listed.

    Args:
        manifest: TSV or JSONL file with path, samples, sample_rate; its other columns are kept.
        out: folder to create.
        sample_rate: rate in Hz to which all clips are resampled.
        shard_seconds: seconds of audio in one shard.
        workers: threads that decode.

    Raises:
        UserError: no clip could be read, or `out` is not empty.
    """
    target = pathlib.Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--out {out} exists and is not empty; choose a new folder or remove it")

    target.parent.mkdir(parents=True, exist_ok=True)
    left_out: list[tuple[str, str]] = []
    # The folder is written under another name and renamed, so that an interrupted run leaves no
    # folder that looks complete.
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f".{target.name}.part-"
    ) as temporary:
        source = manifest_lib.load(manifest, cache=f"{temporary}/cache")
        if source.packed:
            raise UserError(f"{manifest} is packed already")
        folder = pathlib.Path(temporary) / "packed"
        clips = _clips(source, sample_rate, workers, left_out)
        clips = progress(clips, len(source), "packing")
        options = {"sample_rate": sample_rate, "shard_seconds": shard_seconds}
        count = packed.write(folder, clips, columns=source.more, **options)
        if not count:
            raise UserError(
                f"{manifest}: no clip could be read; the first: {': '.join(left_out[0])}"
            )
        if left_out:
            lines = "".join(f"{path}\t{reason}\n" for path, reason in left_out)
            (folder / "left_out.tsv").write_text("path\treason\n" + lines, encoding="utf-8")
        if target.exists():
            target.rmdir()
        folder.rename(target)
    for path, reason in left_out[:10]:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    if left_out:
        print(f"{len(left_out)} clips left out, see {target / 'left_out.tsv'}", file=sys.stderr)
    print(f"packed {count} clips; train with --config.data.manifest={out}")


def _clips(
    source: manifest_lib.Manifest,
    sample_rate: int,
    workers: int,
    left_out: list[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """Decoded clips in the manifest's order, as records for `packed.write`; threads read ahead."""

    def read(row: int) -> np.ndarray | str:
        rate = int(source.sample_rate[row])
        try:
            return read_audio(source.path(row), sample_rate=sample_rate, expected_rate=rate)
        except BadAudioError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        rows = iter(range(len(source)))
        waiting = deque(
            (row, pool.submit(read, row)) for row in itertools.islice(rows, 4 * workers)
        )
        while waiting:
            row, future = waiting.popleft()
            waiting.extend((r, pool.submit(read, r)) for r in itertools.islice(rows, 1))
            audio = future.result()
            if isinstance(audio, str):
                left_out.append((source.path(row), audio))
                continue
            yield {
                "speech": audio,
                "text": source.label(row, "text"),
                "speaker_id": source.label(row, "speaker"),
                "id": source.name(row),
                "more": [source.label(row, name) for name in source.more],
            }
