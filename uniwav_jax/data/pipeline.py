"""The Grain pipeline, which reads this host's rows of planned batches."""

import multiprocessing
import os
import re
import signal
import threading
from typing import Any, Self

import grain
import numpy as np
from absl import flags
from etils import epath

from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.config import Config, DataConfig
from uniwav_jax.data.plan import BatchPlan, OncePlan, PlannedBatch
from uniwav_jax.data.sources import ClipReader
from uniwav_jax.errors import MachineError, UserError


class LoadRows(grain.transforms.Map):
    """Turns a `PlannedBatch` into the R rows of this host, in increasing order.

    The result is a dict:

        "bucket"    int, padded length in samples
        "audio"     int16 [R, S]; S is the bucket and `context` on both sides
        "latents"   float16 [R, T, C], instead of "audio" for corpora of latents
        "samples"   int32 [R], real samples of each row
        "bad"       bool [R], True for clips that could not be read
        "problems"  [(name of the clip, reason)] of these clips
        "labels"    {name: array [R, ...]} (see `Labels`)

    A clip that cannot be read becomes a row of silence with 0 samples, so that no loss counts it.
    An empty row of the plan is silence too, but is not bad.
    """

    def __init__(
        self,
        plan: BatchPlan | OncePlan,
        *,
        host_rows: dict[int, np.ndarray],
        config: Config,
        context: tuple[int, int],
    ) -> None:
        self._rows, self._context, self._config = host_rows, context, config
        self._corpora, self._labels = plan.corpora, plan.labels
        self._label_lengths = plan.label_lengths
        described = plan.corpora[0].latents
        self._hop, self._channels = described.get("hop", 0), described.get("channels", 0)
        self._readers = [
            ClipReader(manifest, sample_rate=config.features.sample_rate)
            for manifest in plan.corpora
        ]

    def map(self, batch: PlannedBatch) -> dict[str, Any]:
        rows = self._rows[batch.bucket]
        load = self._latents if self._hop else self._audio
        frames = -(-batch.bucket // self._hop) if self._hop else sum(self._context) + batch.bucket
        shape = (frames, self._channels) if self._hop else (frames,)
        audio = np.zeros((len(rows), *shape), np.float16 if self._hop else np.int16)
        labels = self._labels.empty(len(rows), self._label_lengths[batch.bucket])
        samples, bad = np.zeros(len(rows), np.int32), np.zeros(len(rows), bool)
        problems = []
        for place, row in enumerate(rows):
            if batch.clip[row] < 0:
                continue
            reader, clip = self._readers[batch.corpus[row]], int(batch.clip[row])
            corpus = self._corpora[batch.corpus[row]]
            crop = (int(batch.start[row]), int(batch.samples[row]))
            self._labels.fill(labels, place, corpus, clip, self._config, crop)
            try:
                samples[place] = load(reader, clip, *crop, audio[place])
            except BadAudioError as error:
                bad[place] = True
                problems.append((reader.name(clip), " ".join(str(error).split())))  # one line
        return {
            "bucket": batch.bucket,
            "latents" if self._hop else "audio": audio,
            "samples": samples,
            "bad": bad,
            "problems": problems,
            "labels": labels,
        }

    def _audio(
        self, reader: ClipReader, clip: int, start: int, wanted: int, out_S: np.ndarray
    ) -> int:
        """Read `wanted` samples and their context into a row; returns the samples it got.

        Context is not counted. `out_S` is int16 and zero before.
        """
        left, right = self._context
        before = min(left, start)
        wave = reader.read(clip, start=start - before, samples=before + wanted + right)
        if len(wave) <= before:
            raise BadAudioError(f"ends before sample {start}")
        out_S[left - before :][: len(wave)] = wave
        return min(len(wave) - before, wanted)

    def _latents(
        self, reader: ClipReader, clip: int, start: int, wanted: int, out_TxC: np.ndarray
    ) -> int:
        """Read the frames of `wanted` samples into a row; returns the samples that it got.

        `out_TxC` is float16 and zero before.
        """
        first, frames = start // self._hop, -(-wanted // self._hop)
        latents = reader.read_latents(clip, start=first, frames=frames)
        out_TxC[: len(latents)] = latents
        return min(len(latents) * self._hop, wanted)


def make_loader(
    config: Config,
    plan: BatchPlan | OncePlan,
    *,
    host_rows: dict[int, np.ndarray],
    start: int,
    context: tuple[int, int] = (0, 0),
) -> "Loader":
    """An iterator over this host's part of global batches start, start + 1, ... of the plan.

    The batches do not depend on the number of threads and reader processes. The caller must call
    `close()`.

    Args:
        config: the run's configuration, of which `data`, `features.sample_rate` and the labels'
            fields are used.
        plan: the batch plan.
        host_rows: {bucket in samples: int [R], the global rows that this host loads}.
        start: first global batch, which is the step at which the run continues.
        context: samples to read to the left and right of each crop (`SurfaceFeatures.context`).
    """
    data = config.data
    load = LoadRows(
        plan,
        host_rows=host_rows,
        config=config,
        context=context,
    )
    batches = grain.MapDataset.source(plan)[start:].map(load)
    per_process = grain.ReadOptions(
        num_threads=max(data.threads, 1), prefetch_buffer_size=max(data.prefetch, data.threads, 1)
    )
    dataset = batches.to_iter_dataset(per_process)
    if data.workers:
        if not flags.FLAGS.is_parsed():
            # Grain's processes read absl flags, which scripts do not parse.
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=data.workers), worker_init_fn=_prepare_reader
        )
    return Loader(dataset)


def _prepare_reader(index: int, count: int) -> None:
    """Make a reader process end when the main process ends, and not before.

    A signal to all processes of a job must not end the readers while the run is saving a
    checkpoint. After kill -9 of the main process nothing else would end them.
    """
    del index, count
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

    def leave() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


class Loader:
    """Iterates over a Grain dataset of `LoadRows` results; the caller must call `close()`."""

    def __init__(self, dataset: grain.IterDataset) -> None:
        self._iterator = iter(dataset)
        self.close = self._iterator.close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch, a dict as returned by `LoadRows`.

        Raises:
            StopIteration: a plan for evaluation (`OncePlan`) is at its end.
            MachineError: a reader process died.
        """
        try:
            return next(self._iterator)
        except RuntimeError as error:
            died = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
            if not died:
                raise
            code = int(died[1])
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            raise MachineError(
                f"a reader process of config.data.workers ended ({how}); SIGKILL often means that"
                " memory ran out, and SIGBUS that /dev/shm is too small; fewer workers or a smaller"
                " data.prefetch need less memory; the same command continues from the last"
                " checkpoint"
            ) from error


class BadFileReport:
    """Counts unreadable clips, lists each once in a TSV file, and stops a run with too many.

    Attributes:
        problems: {name of a clip: why it cannot be read}, those of the file included.
    """

    def __init__(self, path: str, config: DataConfig) -> None:
        self._path, self._config = epath.Path(path), config
        self.problems: dict[str, str] = {}
        self._rows = self._bad = 0
        if self._path.exists():
            lines = self._path.read_text().splitlines()[1:]
            # A kill during a write can leave half a line.
            self.problems = dict(line.split("\t", 1) for line in lines if "\t" in line)

    def add(self, item: dict[str, Any]) -> None:
        """Add the problems of one batch, a result of `LoadRows`.

        Raises:
            UserError: the share of bad rows is significantly (by three standard deviations of
                their number) above `data.max_bad_fraction`.
        """
        self._rows += len(item["bad"])
        self._bad += len(item["problems"])
        new = {n: reason for n, reason in item["problems"] if n not in self.problems}
        if new:
            self.problems |= new
            lines = "".join(f"{name}\t{reason}\n" for name, reason in self.problems.items())
            self._path.write_text("clip\treason\n" + lines)
        if self._bad - 3 * self._bad**0.5 > self._config.max_bad_fraction * self._rows:
            name, reason = next(iter(self.problems.items()))
            raise UserError(
                f"{self._bad} of the first {self._rows} rows could not be read (allowed:"
                f" config.data.max_bad_fraction={self._config.max_bad_fraction:g}); {name}:"
                f" {reason}; all are in {self._path}; run 'uniwav data check' on the manifest"
            )
