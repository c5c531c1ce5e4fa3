"""Encodes a corpus with a codec once, so that training reads latents and not audio.

The batches of training on the latents are those of encoding on the fly, to float16. Any number of
hosts share the work on one file system; the last to end puts the folder together. After an
interruption, finished shards are kept. The result is a tensorflow-datasets folder of float16
latents with manifest.tsv and latents.json, which also has the channels' mean and standard
deviation. Unreadable clips are left out and listed in left_out.tsv.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from uniwav_jax import features as features_lib
from uniwav_jax.codec import files
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import packed
from uniwav_jax.data.sources import BadAudioError, ClipReader
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

WINDOWS = (4.0, 16.0)  # seconds of one row; longer clips take several rows


def extract(
    manifest: str,
    codec_folder: str,
    target: str,
    *,
    host: int = 0,
    hosts: int = 1,
    shard_seconds: float = 7200.0,
    batch_seconds: float = 64.0,
    threads: int | None = None,
) -> None:
    """Encode this host's shards; the last host to end finishes the folder.

    Args:
        manifest: manifest file or packed folder.
        codec_folder: the codec.
        target: new folder.
        host: number of this process, from 0.
        hosts: how many processes share the work.
        shard_seconds: audio in one shard.
        batch_seconds: audio that is encoded at once.
        threads: batches that are encoded at the same time; None: one for each processor.

    Raises:
        UserError: an argument is not usable, or no clip could be read.
    """
    if not 0 <= host < hosts:
        raise UserError(f"--host must lie between 0 and --hosts - 1; got {host}, {hosts}")
    out = pathlib.Path(target)
    if out.exists():
        raise UserError(f"--out {out} exists; choose a new folder or remove it")
    draft = out.parent / f".{out.name}.part"
    draft.mkdir(parents=True, exist_ok=True)

    codec, _ = files.load(codec_folder)
    config = FeaturesConfig(
        kind="codec", codec=codec_folder, sample_rate=codec.sample_rate, hop=codec.hop
    )
    features = features_lib.build(config)
    corpus = manifest_lib.load(manifest, cache=str(draft / f"cache-{host}"))
    if corpus.latents:
        raise UserError(f"{manifest} has latents already")
    lengths = corpus.lengths(codec.sample_rate)
    # Shards end where the running sum passes a multiple, so that every host has the same ones.
    shard = (np.cumsum(lengths) - 1) // int(shard_seconds * codec.sample_rate)
    shards = [np.flatnonzero(shard == number) for number in np.unique(shard)]
    identity = {
        "manifest": corpus.digest,
        "codec": files.digest(codec_folder),
        "shards": len(shards),
        "hop": codec.hop,
        "channels": codec.dimension,
    }
    _claim(draft / "plan.json", identity)

    encoder = _Encoder(features, corpus, batch_seconds)
    began, seconds = time.perf_counter(), 0.0
    mine = [n for n in range(host, len(shards), hosts) if not _done(draft, n)]
    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for number in progress(mine, label="encoding shards"):
            seconds += encoder.write(draft, number, shards[number], pool)
            rate = seconds / (time.perf_counter() - began)
            print(f"shard {number + 1} of {len(shards)}: {rate:.1f} h of audio an hour", flush=True)
    missing = [number for number in range(len(shards)) if not _done(draft, number)]
    if missing:
        print(f"{len(missing)} shards are left to other hosts; the last one finishes {out}")
        return
    clips = _finish(draft, out, identity, len(shards), corpus.more)
    print(f"{clips} clips; train with --config.data.manifest={out}")


def _claim(path: pathlib.Path, identity: dict[str, Any]) -> None:
    """The first host writes a description of the work; that of the others must be equal."""
    text = json.dumps(identity)
    with contextlib.suppress(FileExistsError):
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text)
        try:
            os.link(temporary, path)  # fails where it exists, and never shows half a file
        finally:
            temporary.unlink()
    if json.loads(path.read_text()) != identity:
        raise UserError(
            f"{path.parent} was begun with other speech, codec or --shard_seconds; remove it to"
            " begin again"
        )


def _done(draft: pathlib.Path, number: int) -> bool:
    return (draft / f"part-{number:05d}.json").exists()


class _Encoder:
    """Clips of a corpus to latents, windows of one length at a time."""

    def __init__(
        self,
        features: features_lib.SurfaceFeatures,
        corpus: manifest_lib.Manifest,
        batch_seconds: float,
    ) -> None:
        self._features, self._corpus = features, corpus
        self._rate, self._hop = features.sample_rate, features.hop
        self._reader = ClipReader(corpus, sample_rate=self._rate)
        # Whole frames, so that windows of a clip join.
        self._windows = [round(s * features.frame_rate) * self._hop for s in WINDOWS]
        self._rows = [max(1, int(batch_seconds // seconds)) for seconds in WINDOWS]
        self._raw = jax.jit(features.raw)
        self._weights = jax.device_put(features.weights)

    def write(
        self,
        draft: pathlib.Path,
        number: int,
        rows: np.ndarray,
        pool: concurrent.futures.Executor,
    ) -> float:
        """Encode one shard; its .json appears last. Returns seconds of audio."""
        lengths = self._corpus.lengths(self._rate, rows)
        pieces: dict[int, list[tuple[int, int, int]]] = {0: [], 1: []}  # window: row, start, size
        for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
            for start in range(0, length, self._windows[-1]):
                size = min(length - start, self._windows[-1])
                pieces[int(size > self._windows[0])].append((row, start, size))
        jobs = [
            pool.submit(self._encode, kind, chosen[first : first + self._rows[kind]])
            for kind, chosen in pieces.items()
            for first in range(0, len(chosen), self._rows[kind])
        ]
        latents: dict[int, dict[int, np.ndarray]] = {}
        problems: dict[int, str] = {}
        for job in jobs:
            for row, start, value in job.result():
                if isinstance(value, str):
                    problems.setdefault(row, value)
                else:
                    latents.setdefault(row, {})[start] = value
        seconds, lines, sums = 0.0, [], np.zeros((2, self._features.channels))
        count = 0

        def clips() -> Iterator[dict[str, Any]]:
            nonlocal seconds, count
            for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
                if row in problems:
                    continue
                value = np.concatenate([latents[row][start] for start in sorted(latents[row])])
                clip = {
                    "latents": value,
                    "text": self._corpus.label(row, "text"),
                    "speaker_id": self._corpus.label(row, "speaker"),
                    "id": self._corpus.name(row),
                    "more": [self._corpus.label(row, name) for name in self._corpus.more],
                }
                lines.append(packed.manifest_line(clip, length, self._rate))
                seconds, count = seconds + length / self._rate, count + len(value)
                exact = value.astype(np.float64)
                sums[0] += exact.sum(0)
                sums[1] += np.square(exact).sum(0)
                yield clip

        path = draft / f"part-{number:05d}"
        size, written = packed.write_shard(
            path, clips(), packed.features_dict(self._features.channels)
        )
        document = {
            "bytes": size,
            "clips": written,
            "lines": lines,
            "left_out": [(self._reader.name(row), text) for row, text in problems.items()],
            "frames": count,
            "sums": sums.tolist(),
        }
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(document))
        temporary.rename(path.with_suffix(".json"))
        return seconds

    def _encode(
        self, kind: int, pieces: list[tuple[int, int, int]]
    ) -> list[tuple[int, int, np.ndarray | str]]:
        """Latents float16 [frames, C] of each piece, or why there are none."""
        left, right = self._features.context
        audio = np.zeros((self._rows[kind], left + self._windows[kind] + right), np.int16)
        found: list[tuple[int, int, Any]] = []
        for place, (row, start, size) in enumerate(pieces):
            before = min(left, start)
            try:
                wave = self._reader.read(row, start=start - before, samples=before + size + right)
                if len(wave) < before + size:
                    raise BadAudioError(f"ends at sample {start - before + len(wave)}")
                audio[place, left - before :][: len(wave)] = wave
                found.append((row, start, None))
            except BadAudioError as error:
                found.append((row, start, str(error)))
        z_BxTxC = np.asarray(self._raw(self._weights, audio))
        for place, (row, start, size) in enumerate(pieces):
            if found[place][2] is None:
                value = z_BxTxC[place, : self._features.output_length(size)].astype(np.float16)
                finite = np.isfinite(value).all()
                found[place] = (row, start, value if finite else "latents exceed float16")
        return found


def _finish(
    draft: pathlib.Path,
    out: pathlib.Path,
    identity: dict[str, Any],
    shards: int,
    columns: Sequence[str],
) -> int:
    """Name the shards, write the descriptions, show the folder; returns the clips."""
    parts = [json.loads((draft / f"part-{n:05d}.json").read_text()) for n in range(shards)]
    kept = [part for part in parts if part["clips"]]
    if not kept:
        raise UserError(f"no clip could be read; the first: {parts[0]['left_out'][0]}")
    final = draft / "final"
    shutil.rmtree(final, ignore_errors=True)
    final.mkdir()
    for index, number in enumerate(n for n in range(shards) if parts[n]["clips"]):
        os.link(draft / f"part-{number:05d}", final / f"part-{index:05d}")
    frames = sum(part["frames"] for part in kept)
    sums = np.sum([part["sums"] for part in kept], axis=0) / frames
    std = np.sqrt(np.maximum(sums[1] - np.square(sums[0]), 1e-6))
    described = {**identity, "mean": sums[0].tolist(), "std": std.tolist()}
    (final / "latents.json").write_text(json.dumps(described))
    left_out = [entry for part in parts for entry in part["left_out"]]
    if left_out:
        lines = "".join(f"{name}\t{reason}\n" for name, reason in left_out)
        (final / "left_out.tsv").write_text("path\treason\n" + lines, encoding="utf-8")
        print(f"{len(left_out)} clips left out, see {out / 'left_out.tsv'}", file=sys.stderr)
    packed.describe(
        final,
        packed.features_dict(identity["channels"]),
        [(part["bytes"], part["clips"]) for part in kept],
        [line for part in kept for line in part["lines"]],
        columns,
    )
    final.rename(out)
    shutil.rmtree(draft)
    return sum(part["clips"] for part in kept)
