"""The batch plan: what global batch g holds, as a pure function of (seed, g) and the manifests.

    clips -> segments -> buckets by length -> one endless shuffled stream per bucket
    -> batches of about equal seconds, the buckets in shuffled order

So hosts, reader processes and devices do not matter, and one integer is the whole data position.

A clip no longer than the longest bucket is one segment, padded to the shortest bucket that holds
it. A longer clip is n = round(length / longest) segments of full length; segment i starts at
random in the i-th n-th of the room there is, anew in each pass. One bucket: fixed crops. For
recognition a clip belongs to its whole text: longer ones, and those without, are left out.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np
from etils import epath

from uniwav_jax.config import Config
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import text
from uniwav_jax.errors import UserError

ENDLESS = 2**40  # batches; Grain wants a length
ORDER, SLOTS, CROPS = range(3)  # independent random streams


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One global batch of R rows; int64 [R] each.

    Attributes:
        bucket: padded length in samples.
        corpus: index of the row's manifest.
        clip: row of that manifest.
        start: first sample, at `features.sample_rate`.
        samples: how many to read.
    """

    bucket: int
    corpus: np.ndarray
    clip: np.ndarray
    start: np.ndarray
    samples: np.ndarray


class BatchPlan:
    """`plan[g]` is global batch g; pickles small, reader processes map the same files.

    Attributes:
        corpora: the manifests.
        rows: {bucket length in samples: rows of a batch}, buckets without segments left out.
        tokens: {bucket: tokens of the longest text in it}; empty where text plays no part.
    """

    def __init__(self, config: Config, cache: str) -> None:
        self._config, data = config, config.data
        rate = config.features.sample_rate
        sources = [source.strip() for source in data.manifest.split(",")]
        self._cache = local(cache)
        self.corpora = [manifest_lib.load(source, cache=self._cache) for source in sources]
        buckets = np.round(np.asarray(data.buckets) * rate).astype(np.int64)
        lengths = [manifest.lengths(rate) for manifest in self.corpora]
        shortest = max(round(data.min_seconds * rate), 1)
        per_corpus = [_segments(length, buckets, shortest) for length in lengths]
        self.tokens: dict[int, int] = {}
        self._left_out: list[str] = [""] * len(sources)
        if config.task == "asr":
            for number, corpus in enumerate(self.corpora):
                tokens = text.token_counts(corpus, config.asr)
                per_corpus[number], self._left_out[number] = self._with_text(
                    per_corpus[number], lengths[number], tokens, buckets.tolist()
                )
        if not sum(len(s) for s in per_corpus):
            raise UserError(
                f"{data.manifest}: no clip of at least config.data.min_seconds"
                f" ({data.min_seconds:g} s) among {sum(map(len, self.corpora))}"
                + "".join(f"; {left_out}" for left_out in self._left_out if left_out)
            )
        usable = np.array(
            [np.minimum(n, buckets[-1])[s[:, 0]].sum() for n, s in zip(lengths, per_corpus)]
        )
        repeats = _repeats(data.weights, usable, sources)
        # Per bucket and corpus: [first, last) in the segment file, and draws in one pass.
        self._streams: dict[int, list[tuple[int, int, int]]] = {}
        self.rows: dict[int, int] = {}
        ordered, first = [], 0
        for index, bucket in enumerate(buckets.tolist()):
            for number, segments in enumerate(per_corpus):
                chosen = segments[segments[:, 3] == index]
                draws = round(len(chosen) * repeats[number])
                if draws:
                    streams = self._streams.setdefault(bucket, [])
                    streams.append((first, first + len(chosen), draws))
                chosen[:, 3] = number  # bucket index no longer needed; corpus from here on
                ordered.append(chosen)
                first += len(chosen)
            if bucket in self._streams:
                multiple = data.row_multiple
                wanted = round(data.batch_seconds * rate / bucket / multiple)
                self.rows[bucket] = max(wanted, 1) * multiple
        self._path = self._store(np.concatenate(ordered))
        self._per_cycle = {
            bucket: -(-sum(draws for *_, draws in self._streams[bucket]) // rows)
            for bucket, rows in self.rows.items()
        }
        self._counts = [(len(n), n.sum() / rate, int((n < shortest).sum())) for n in lengths]
        self.__setstate__(self.__dict__)

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_segments", "_pass", "_cycle")
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        try:
            self._segments = np.load(self._path, mmap_mode="r")
        except ValueError as error:
            raise UserError(f"{self._path} is damaged ({error}); delete it") from error
        self._pass = functools.lru_cache(2 * len(self.rows))(self._shuffled_pass)
        self._cycle = functools.lru_cache(4)(self._shuffled_slots)

    def __len__(self) -> int:
        return ENDLESS

    @property
    def one_pass(self) -> int:
        """Batches in which every segment comes at least once; those that fill the last again."""
        return sum(self._per_cycle.values())

    def __getitem__(self, g: int) -> PlannedBatch:
        cycle, slot = divmod(int(g), self.one_pass)
        buckets, numbers = self._cycle(cycle)
        bucket = int(buckets[slot])
        rows = self.rows[bucket]
        position = (cycle * self._per_cycle[bucket] + int(numbers[slot])) * rows
        segments = self._segments[self._draw(bucket, position, rows)]
        clip, part, parts, corpus = segments.astype(np.int64).T
        rate = self._config.features.sample_rate
        length = np.empty(rows, np.int64)
        for number, manifest in enumerate(self.corpora):
            length[corpus == number] = manifest.lengths(rate, clip[corpus == number])
        samples = np.minimum(length, bucket)
        place = self._random(CROPS, int(g)).random(rows)
        start = np.floor((part + place) / parts * (length - samples + 1)).astype(np.int64)
        start = np.minimum(start, length - samples)
        if self._config.features.kind == "codec":
            start -= start % self._config.features.hop  # whole frames, as extracted latents have
        return PlannedBatch(bucket, corpus, clip, start, samples)

    def _with_text(
        self, segments: np.ndarray, lengths: np.ndarray, counts: np.ndarray, buckets: list[int]
    ) -> tuple[np.ndarray, str]:
        """Segments that are whole clips with usable text, and what was left out; sets `tokens`."""
        clip, _, _, index = segments.T
        tokens, whole = counts[clip], lengths[clip] <= buckets[-1]
        reasons = {
            f"longer than {buckets[-1] / self._config.features.sample_rate:g} s": ~whole,
            "without text": tokens == 0,
            "with symbols outside config.asr.symbols": tokens < 0,
        }
        numbers = {reason: len(np.unique(clip[chosen])) for reason, chosen in reasons.items()}
        kept = whole & (tokens > 0)
        for number in np.unique(index[kept]):
            longest = int(tokens[kept & (index == number)].max())
            bucket = buckets[number]
            self.tokens[bucket] = max(longest, self.tokens.get(bucket, 0))
        left_out = [f"{number} {reason}" for reason, number in numbers.items() if number]
        return segments[kept], "left out: " + ", ".join(left_out) if left_out else ""

    def _draw(self, bucket: int, position: int, count: int) -> np.ndarray:
        """Segments [position, position + count) of a bucket's endless stream."""
        per_pass = sum(draws for *_, draws in self._streams[bucket])
        indices = np.arange(position, position + count)
        passes, inside = np.divmod(indices, per_pass)
        drawn = np.empty(count, np.int64)
        for number in np.unique(passes):
            chosen = passes == number
            drawn[chosen] = self._pass(bucket, int(number))[inside[chosen]]
        return drawn

    def _shuffled_pass(self, bucket: int, number: int) -> np.ndarray:
        """One pass: from each corpus its share, next in that corpus's own endless stream."""
        parts = []
        for stream, (first, last, draws) in enumerate(self._streams[bucket]):
            epochs, inside = np.divmod(
                np.arange(number * draws, (number + 1) * draws), last - first
            )
            for epoch in np.unique(epochs):
                random = self._random(ORDER, bucket, stream, int(epoch))
                order = random.permutation(last - first)
                parts.append(first + order[inside[epochs == epoch]])
        segments = np.concatenate(parts)
        if len(self._streams[bucket]) > 1:
            self._random(ORDER, bucket, len(self._streams[bucket]), number).shuffle(segments)
        return segments

    def _shuffled_slots(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Bucket of each batch of a cycle, and which of that bucket's batches it is."""
        buckets = np.repeat(list(self._per_cycle), list(self._per_cycle.values()))
        buckets = self._random(SLOTS, cycle).permutation(buckets)
        numbers = np.empty_like(buckets)
        for bucket, count in self._per_cycle.items():
            numbers[buckets == bucket] = np.arange(count)
        return buckets, numbers

    def _random(self, *path: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, *path))

    def _store(self, segments: np.ndarray) -> str:
        """Keep the segments in a file that reader processes map; returns its path."""
        digest = hashlib.blake2b(json.dumps(self.fingerprint()).encode(), digest_size=8).hexdigest()
        path = pathlib.Path(self._cache) / f"segments-{digest}.npy"
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self._cache, delete=False) as file:
                np.save(file, segments)
            os.replace(file.name, path)
        return str(path)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the order and the samples; kept in checkpoints."""
        data = self._config.data
        asr, told = self._config.asr, {}
        if self._config.task == "asr":
            told = {
                name: getattr(asr, name) for name in ("symbols", "units", "lexicon", "lowercase")
            }
        return told | {
            "manifests": [manifest.digest for manifest in self.corpora],
            "weights": data.weights,
            "batch_seconds": data.batch_seconds,
            "buckets": list(data.buckets),
            "min_seconds": data.min_seconds,
            "row_multiple": data.row_multiple,
            "sample_rate": self._config.features.sample_rate,
            "seed": self._config.seed,
        }

    def summary(self) -> dict[str, str]:
        """Lines for the start of a run."""
        rate = self._config.features.sample_rate
        lines = {}
        counts = zip(self.corpora, self._counts, self._left_out)
        for manifest, (clips, seconds, unused), left_out in counts:
            lines[manifest.source] = f"{clips} clips, {seconds / 3600:.2f} h" + (
                f", {unused} shorter than {self._config.data.min_seconds:g} s left out"
                if unused
                else ""
            )
            lines[manifest.source] += f"; {left_out}" if left_out else ""
        lines["batches"] = "; ".join(f"{rows} x {b / rate:g} s" for b, rows in self.rows.items())
        return lines


def _segments(lengths: np.ndarray, buckets: np.ndarray, shortest: int) -> np.ndarray:
    """int32 [N, 4]: clip, part, parts, bucket index of every segment, in the manifest's order."""
    longest = buckets[-1]
    parts = np.where(lengths < shortest, 0, np.maximum(1, np.round(lengths / longest)))
    parts = parts.astype(np.int64)
    clip = np.repeat(np.arange(len(lengths)), parts)
    part = np.arange(len(clip)) - np.repeat(np.cumsum(parts) - parts, parts)
    bucket = np.searchsorted(buckets, np.minimum(lengths, longest)[clip])
    return np.stack([clip, part, parts[clip], bucket], 1).astype(np.int32)


def _repeats(weights: str, seconds: np.ndarray, sources: list[str]) -> np.ndarray:
    """How often one pass goes through each corpus, so that audio has the wanted shares."""
    if not weights:
        return np.ones(len(sources))
    try:
        wanted = np.array([float(weight) for weight in weights.split(",")])
    except ValueError:
        wanted = np.array([])
    if len(wanted) != len(sources) or (wanted < 0).any() or not wanted.sum() > 0:
        raise UserError(
            f"config.data.weights must be {len(sources)} numbers, one for each of"
            f" {', '.join(sources)}; got '{weights}'"
        )
    return wanted / wanted.sum() * seconds.sum() / np.maximum(seconds, 1)


def local(cache: str) -> str:
    """A local folder for memory-mapped files; beside a bucket path, a temporary one."""
    if "://" in cache:
        cache = str(pathlib.Path(tempfile.gettempdir()) / "uniwav_jax" / cache.split("://")[1])
    epath.Path(cache).mkdir(parents=True, exist_ok=True)
    return cache
