"""Pack a manifest's clips into sharded ArrayRecord: few files, no decoding while training.

    python tools/pack_array_record.py data/manifest.tsv --out data/packed

The result is a tensorflow-datasets folder with a manifest.tsv inside; give `--out` as
`config.data.manifest`. Needs no TensorFlow. Unreadable clips are left out and listed.
"""

import argparse
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
from rich.progress import track

from uniwav_jax.audio.reader import BadAudioError, read_audio
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import packed
from uniwav_jax.errors import UserError, run_tool


def main(argv: list[str]) -> int:
    """Pack; a `UserError` when nothing could be packed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", help="TSV or JSONL with path, samples, sample_rate")
    parser.add_argument("--out", required=True, help="new folder for the packed records")
    parser.add_argument("--sample_rate", type=int, default=16000, help="Hz (default 16000)")
    parser.add_argument("--shard_seconds", type=float, default=7200, help="audio in one shard")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 16))
    options = parser.parse_args(argv)
    out = pathlib.Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not empty; choose a new folder or remove it")

    out.parent.mkdir(parents=True, exist_ok=True)
    left_out: list[tuple[str, str]] = []
    # Written aside and renamed: an interrupted run leaves nothing that looks finished.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.part-") as temporary:
        source = manifest_lib.load(options.manifest, cache=f"{temporary}/cache")
        if source.packed:
            raise UserError(f"{options.manifest} is packed already")
        folder = pathlib.Path(temporary) / "packed"
        clips = _clips(source, options.sample_rate, options.workers, left_out)
        clips = track(clips, "packing", total=len(source), disable=not sys.stdout.isatty())
        count = packed.write(
            folder, clips, sample_rate=options.sample_rate, shard_seconds=options.shard_seconds
        )
        if not count:
            raise UserError(
                f"{options.manifest}: no clip could be read; the first: {': '.join(left_out[0])}"
            )
        if left_out:
            lines = "".join(f"{path}\t{reason}\n" for path, reason in left_out)
            (folder / "left_out.tsv").write_text("path\treason\n" + lines, encoding="utf-8")
        if out.exists():
            out.rmdir()
        folder.rename(out)
    for path, reason in left_out[:10]:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    if left_out:
        print(f"{len(left_out)} clips left out, see {out / 'left_out.tsv'}", file=sys.stderr)
    print(f"packed {count} clips; train with --config.data.manifest={out}")
    return 0


def _clips(
    source: manifest_lib.Manifest,
    sample_rate: int,
    workers: int,
    left_out: list[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """Decoded clips in the manifest's order, read ahead by threads."""

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
            }


if __name__ == "__main__":
    run_tool(main)
