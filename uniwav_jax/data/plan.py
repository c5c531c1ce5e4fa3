"""The batch plan: the clips of global batch g, as a pure function of (seed, g) and the manifests.

    clips -> segments -> buckets by length -> one endless shuffled stream per bucket
    -> batches of about equal seconds, which alternate between the buckets

The plan does not depend on hosts, reader processes and devices, and the position in the data is a
single integer.

A clip no longer than the longest bucket is one segment, padded to the shortest bucket into which it
fits. A longer clip is n = round(length / longest) segments of the longest bucket's length. The
slack is divided into n equal parts, and segment i starts at a random point of part i, redrawn in
each pass. If labels belong to whole clips, as texts do, longer clips are left out (data/labels.py).

Every segment is used equally often (or in proportion to `data.weights`), and none twice in a batch
while another of its bucket is unused:

- A bucket with fewer segments than its batches have rows is merged with another (`buckets.py`).
- Buckets alternate so that all advance through their segments at the same pace: after any number
  of batches each is within half a batch of its exact share.
- At the border of two passes no segment is repeated early (`shuffle.py`).

`once` gives every segment exactly once, for evaluation.
"""

import bisect
import dataclasses
import functools
import hashlib
import json
import math
import operator
import os
import pathlib
import tempfile
from fractions import Fraction
from typing import Any

import numpy as np
from etils import epath

from uniwav_jax.config import Config
from uniwav_jax.data import buckets as buckets_lib
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import shuffle
from uniwav_jax.data.labels import NONE, Labels
from uniwav_jax.errors import UserError

ENDLESS = 2**40  # batches; Grain needs a length
ORDER, CROPS = 0, 2  # seeds of independent random streams
# It increases when the same data and settings give other batches. Since 2, the number of a bucket's
# batches is proportional to its audio, and small buckets are merged.
VERSION = 2


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One global batch of R rows; the arrays are int64 [R].

    Attributes:
        bucket: padded length in samples.
        corpus: index of the row's manifest in `BatchPlan.corpora`.
        clip: row of that manifest; -1 in an empty row, which only batches of `OncePlan` have.
        start: first sample of the crop, at `features.sample_rate`.
        samples: number of samples to read; 0 in an empty row.
    """

    bucket: int
    corpus: np.ndarray
    clip: np.ndarray
    start: np.ndarray
    samples: np.ndarray


class BatchPlan:
    """`plan[g]` is global batch g, a `PlannedBatch`.

    A pickled plan is small, because reader processes map the same files into memory.

    Attributes:
        corpora: the manifests.
        rows: {bucket in samples: number of rows of a batch}, only of buckets with segments.
        labels: the labels that batches have besides audio.
        label_lengths: {bucket in samples: {label: length of its longest sequence}}.
    """

    def __init__(self, config: Config, cache: str, labels: Labels = NONE) -> None:
        self._config, self.labels, data = config, labels, config.data
        rate = config.features.sample_rate
        self._cache = local(cache)
        self.corpora = manifest_lib.load_all(data.manifest, cache=self._cache, speeds=data.speeds)
        buckets = np.round(np.asarray(data.buckets) * rate).astype(np.int64)
        lengths = [manifest.lengths(rate) for manifest in self.corpora]
        shortest = max(round(data.min_seconds * rate), 1)
        per_corpus = [buckets_lib.segments(length, buckets, shortest) for length in lengths]
        sizes = [labels.sizes(corpus, config) for corpus in self.corpora]
        self._left_out: list[str] = [""] * len(self.corpora)
        for number, per_clip in enumerate(sizes):
            per_corpus[number], self._left_out[number] = self._usable(
                per_corpus[number], lengths[number], per_clip, int(buckets[-1])
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
        repeats = shuffle.repeats(data, usable)
        # `table` has all segments with a positive share: clip, part, number of parts, corpus.
        corpus_N = np.repeat(np.arange(len(self.corpora)), [len(s) for s in per_corpus])
        table, drawn = np.concatenate(per_corpus), repeats[corpus_N] > 0
        table, corpus_N = table[drawn], corpus_N[drawn]

        def of_segments(per_clip: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([n[s[:, 0]] for n, s in zip(per_clip, per_corpus)])[drawn]

        length_N = of_segments(lengths)
        size_N = {name: of_segments([size[name] for size in sizes]) for name in sizes[0]}
        rows = [
            max(round(data.batch_seconds * rate / bucket / data.row_multiple), 1)
            * data.row_multiple
            for bucket in buckets.tolist()
        ]
        bucket_N = buckets_lib.merge_small(table[:, 3], length_N, repeats[corpus_N], rows)
        self._merged = buckets_lib.describe(table[:, 3], bucket_N, data.buckets, rows)
        table[:, 3] = corpus_N  # the bucket is no longer needed here
        order = np.lexsort((corpus_N, bucket_N))
        self.rows: dict[int, int] = {}
        self.label_lengths: dict[int, dict[str, int]] = {}
        self._streams: dict[int, list[shuffle.Stream]] = {}
        # Without weights all corpora are one stream, in which no segment is used twice before all
        # others are used once.
        stream_N = (corpus_N if data.weights else np.zeros_like(corpus_N))[order]
        first = 0
        for index, count in enumerate(np.bincount(bucket_N).tolist()):
            if not count:
                continue
            bucket = int(buckets[index])
            self.rows[bucket] = rows[index]
            self.label_lengths[bucket] = {
                name: int(size[bucket_N == index].max()) for name, size in size_N.items()
            }
            self._streams[bucket] = shuffle.streams(
                first, stream_N[first : first + count], repeats, rows[index]
            )
            first += count
        self._path = self._store(table[order])
        # {bucket: number of its batches in one pass, a fraction}.
        self._pace = {
            bucket: sum(stream.draws for stream in self._streams[bucket]) / rows
            for bucket, rows in self.rows.items()
        }
        self._counts = [(len(n), n.sum() / rate, int((n < shortest).sum())) for n in lengths]
        self.clips = sum(np.count_nonzero(np.bincount(s[:, 0])) for s in per_corpus)  # used
        self.__setstate__(self.__dict__)

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_segments", "_pass", "_whole", "_cycle")
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        try:
            self._segments = np.load(self._path, mmap_mode="r")
        except ValueError as error:
            raise UserError(f"{self._path} is damaged ({error}); delete it") from error
        streams = sum(map(len, self._streams.values()))
        self._pass = functools.lru_cache(2 * streams)(self._one_pass)
        self._whole = functools.lru_cache(len(self.rows))(self._each_once)
        self._cycle = functools.lru_cache(4)(self._taken_turns)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, g: int) -> PlannedBatch:
        # Cycle c is pass c of all buckets, rounded to whole batches. Its first batch is therefore
        # at most half a batch per bucket away from its exact place.
        pace, off = sum(self._pace.values()), len(self.rows)
        low, high = max(int((g - off) / pace), 0), int((g + 1 + off) / pace) + 1
        cycle = bisect.bisect_right(range(high), g, lo=low, key=self._begin) - 1
        buckets, numbers = self._cycle(cycle)
        slot = int(g) - self._begin(cycle)
        bucket, rows = int(buckets[slot]), self.rows[int(buckets[slot])]
        return self._planned(int(g), bucket, self._draw(bucket, int(numbers[slot]) * rows, rows))

    def once(self, most: int = 0) -> "OncePlan":
        """A plan with every segment once, limited to `most` batches; 0: no limit."""
        return OncePlan(self, most)

    def _planned(self, g: int, bucket: int, places: np.ndarray) -> PlannedBatch:
        """Batch g of a bucket with the segments at `places` in the segment file.

        If these are fewer than a batch has rows, empty rows follow them.
        """
        clip, part, parts, corpus = self._segments[places].astype(np.int64).T
        rate, count = self._config.features.sample_rate, len(places)
        length = np.empty(count, np.int64)
        for number, manifest in enumerate(self.corpora):
            length[corpus == number] = manifest.lengths(rate, clip[corpus == number])
        samples = np.minimum(length, bucket)
        place = self._random(CROPS, g).random(count)
        start = np.floor((part + place) / parts * (length - samples + 1)).astype(np.int64)
        start = np.minimum(start, length - samples)
        if self._config.features.kind == "codec":
            start -= start % self._config.features.hop  # whole frames, as extracted latents have
        empty = (0, self.rows[bucket] - count)
        return PlannedBatch(
            bucket,
            corpus=np.pad(corpus, empty),
            clip=np.pad(clip, empty, constant_values=-1),
            start=np.pad(start, empty),
            samples=np.pad(samples, empty),
        )

    def _usable(
        self,
        segments: np.ndarray,
        lengths: np.ndarray,
        sizes: dict[str, np.ndarray],
        longest: int,
    ) -> tuple[np.ndarray, str]:
        """The segments whose clips have usable labels, and a sentence about the other clips."""
        clip, seconds = segments[:, 0], longest / self._config.features.sample_rate
        reasons = self.labels.left_out(sizes)
        if self.labels.whole_clips:
            reasons = {f"longer than {seconds:g} s": lengths > longest, **reasons}
        reasons = {reason: chosen[clip] for reason, chosen in reasons.items()}
        numbers = {reason: len(np.unique(clip[chosen])) for reason, chosen in reasons.items()}
        kept = ~np.any([np.zeros(len(clip), bool), *reasons.values()], axis=0)
        left_out = [f"{number} {reason}" for reason, number in numbers.items() if number]
        return segments[kept], "left out: " + ", ".join(left_out) if left_out else ""

    def _draw(self, bucket: int, start: int, rows: int) -> np.ndarray:
        """Items [start, start + rows) of a bucket's stream, as places in the segment file."""
        streams = self._streams[bucket]
        ranges = shuffle.share_out(start, start + rows, [stream.draws for stream in streams])
        drawn = []
        for number, (stream, (first, last)) in enumerate(zip(streams, ranges, strict=True)):
            passes, inside = np.divmod(np.arange(first, last), stream.last - stream.first)
            for each in np.unique(passes):
                drawn.append(self._pass(bucket, number, int(each))[inside[passes == each]])
        places = np.concatenate(drawn)
        if len(streams) > 1:
            self._random(ORDER, bucket, len(streams), start // rows).shuffle(places)
        return places

    def _one_pass(self, bucket: int, number: int, each: int) -> np.ndarray:
        """Pass `each` of a stream, as places in the segment file."""
        stream = self._streams[bucket][number]
        random = functools.partial(self._random, ORDER, bucket, number)
        count = stream.last - stream.first
        return stream.first + shuffle.one_pass(each, count, stream.most, random)

    def _each_once(self, bucket: int) -> np.ndarray:
        """All segments of a bucket in random order, as places in the segment file."""
        streams = range(len(self._streams[bucket]))
        places = np.concatenate([self._pass(bucket, number, 0) for number in streams])
        if len(streams) > 1:
            self._random(ORDER, bucket, len(streams)).shuffle(places)
        return places

    def _before(self, bucket: int, cycle: int) -> int:
        """Number of a bucket's batches before a cycle: those of `cycle` passes, rounded."""
        return math.floor(cycle * self._pace[bucket] + Fraction(1, 2))

    def _begin(self, cycle: int) -> int:
        """Number of the first batch of a cycle."""
        return sum(self._before(bucket, cycle) for bucket in self.rows)

    def _taken_turns(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """For each batch of a cycle its bucket, and its number among the bucket's batches."""
        buckets, numbers, passes = [], [], []
        for bucket, pace in self._pace.items():
            number = np.arange(self._before(bucket, cycle), self._before(bucket, cycle + 1))
            buckets.append(np.full(len(number), bucket))
            numbers.append(number)
            passes.append((number + 0.5) / float(pace))  # position of the batch's middle
        order = np.argsort(np.concatenate(passes), kind="stable")
        return np.concatenate(buckets)[order], np.concatenate(numbers)[order]

    def _random(self, *path: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, *path))

    def _store(self, segments: np.ndarray) -> str:
        """Write the segments to a file that reader processes map; returns its path."""
        digest = hashlib.blake2b(json.dumps(self.fingerprint()).encode(), digest_size=8).hexdigest()
        path = pathlib.Path(self._cache) / f"segments-{digest}.npy"
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self._cache, delete=False) as file:
                np.save(file, segments)
            os.replace(file.name, path)
        return str(path)

    def fingerprint(self) -> dict[str, Any]:
        """{property: value} of the data that determines the batches; stored in checkpoints."""
        data = self._config.data
        names = {field.rsplit(".", 1)[-1]: field for field in self.labels.fields}
        of_labels = {k: operator.attrgetter(v)(self._config) for k, v in names.items()}
        values = of_labels | {
            "order_of_batches": VERSION,
            "manifests": [manifest.digest for manifest in self.corpora],
            "weights": data.weights,
            "batch_seconds": data.batch_seconds,
            "buckets": list(data.buckets),
            "min_seconds": data.min_seconds,
            "row_multiple": data.row_multiple,
            "sample_rate": self._config.features.sample_rate,
            "seed": self._config.seed,
        }
        if data.speeds != (1.0,):
            values["speeds"] = data.speeds
        return json.loads(json.dumps(values))  # tuples become lists, as in a checkpoint

    def summary(self) -> dict[str, str]:
        """{topic: text} that is printed at the start of a run."""
        rate = self._config.features.sample_rate
        lines = {}
        counts = zip(self.corpora, self._counts, self._left_out)
        for manifest, (clips, seconds, unused), left_out in counts:
            line = f"{clips} clips, {seconds / 3600:.2f} h"
            if unused:
                line += f", {unused} shorter than {self._config.data.min_seconds:g} s left out"
            lines[manifest.title] = line + (f"; {left_out}" if left_out else "")
        lines["batches"] = "; ".join(f"{rows} x {b / rate:g} s" for b, rows in self.rows.items())
        if self._merged:
            lines["padding"] = "; ".join(self._merged)
        for bucket, streams in self._streams.items():
            segments = sum(stream.last - stream.first for stream in streams)
            if segments < self.rows[bucket]:
                lines["repeats"] = (
                    f"the {segments} segments of speech are fewer than the {self.rows[bucket]} rows"
                    " of a batch, so that each batch repeats them; a smaller"
                    " config.data.batch_seconds avoids it"
                )
        return lines


class OncePlan:
    """`once[g]` is evaluation batch g; each segment of a plan is in exactly one batch.

    Weights of corpora have no effect. The last batch of a bucket is filled with empty rows. A
    limited number of batches is a random sample, the same each time: within a bucket the order is
    random, and batches of the buckets alternate in proportion to their numbers. The attributes are
    those of `BatchPlan`.
    """

    def __init__(self, plan: BatchPlan, most: int) -> None:
        self._plan = plan
        self.corpora, self.rows = plan.corpora, plan.rows
        self.labels, self.label_lengths = plan.labels, plan.label_lengths
        counts = {
            bucket: -(-sum(stream.last - stream.first for stream in streams) // plan.rows[bucket])
            for bucket, streams in plan._streams.items()
        }
        batches = [
            ((number + 0.5) / count, bucket, number)
            for bucket, count in counts.items()
            for number in range(count)
        ]
        batches = sorted(batches)
        self._batches = [(bucket, number) for _, bucket, number in batches[: most or None]]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, g: int) -> PlannedBatch:
        bucket, number = self._batches[g]
        rows = self.rows[bucket]
        places = self._plan._whole(bucket)[number * rows : (number + 1) * rows]
        return self._plan._planned(int(g), bucket, places)


def local(cache: str) -> str:
    """Create the folder for memory-mapped files; an address such as gs:// gets a temporary one."""
    if "://" in cache:
        cache = str(pathlib.Path(tempfile.gettempdir()) / "uniwav_jax" / cache.split("://")[1])
    epath.Path(cache).mkdir(parents=True, exist_ok=True)
    return cache
