"""Grain pipeline: planned batches -> this host's rows of audio."""

from typing import Any

import grain
import numpy as np
from absl import flags
from etils import epath

from uniwav_jax.config import Config, DataConfig
from uniwav_jax.data.plan import BatchPlan, PlannedBatch
from uniwav_jax.data.sources import BadAudioError, ClipReader
from uniwav_jax.errors import UserError


class LoadRows(grain.transforms.Map):
    """PlannedBatch -> {"audio" int16 [R, S], "samples" int32 [R], "bad" bool [R], "problems"}.

    R are the rows of this host, in rising order. A clip that cannot be read is a row of silence
    with 0 samples, so that no loss sees it; `problems` names it.
    """

    def __init__(self, plan: BatchPlan, *, host_rows: dict[int, np.ndarray], rate: int) -> None:
        self._rows = host_rows
        self._readers = [ClipReader(manifest, sample_rate=rate) for manifest in plan.corpora]

    def map(self, batch: PlannedBatch) -> dict[str, Any]:
        rows = self._rows[batch.bucket]
        audio = np.zeros((len(rows), batch.bucket), np.int16)
        samples = np.zeros(len(rows), np.int32)
        problems = []
        for place, row in enumerate(rows):
            reader, clip = self._readers[batch.corpus[row]], int(batch.clip[row])
            try:
                wave = reader.read(
                    clip, start=int(batch.start[row]), samples=int(batch.samples[row])
                )
            except BadAudioError as error:
                problems.append((reader.name(clip), str(error)))
                continue
            audio[place, : len(wave)] = wave
            samples[place] = len(wave)
        return {"audio": audio, "samples": samples, "bad": samples == 0, "problems": problems}


def make_loader(
    config: Config, plan: BatchPlan, *, host_rows: dict[int, np.ndarray], start: int
) -> grain.DatasetIterator:
    """An endless iterator over this host's part of global batches start, start + 1, ...

    The same batches come out for any number of threads and reader processes. Call `close()`.

    Args:
        config: `data` and `features.sample_rate` are used.
        plan: the batch plan.
        host_rows: for each bucket the global rows that this host loads.
        start: first global batch, that is, the step to continue from.
    """
    data = config.data
    load = LoadRows(plan, host_rows=host_rows, rate=config.features.sample_rate)
    batches = grain.MapDataset.source(plan)[start:].map(load)
    per_process = grain.ReadOptions(
        num_threads=max(data.threads, 1), prefetch_buffer_size=max(data.prefetch, data.threads, 1)
    )
    dataset = batches.to_iter_dataset(per_process)
    if data.workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's processes read absl flags; scripts parse none
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=data.workers))
    return iter(dataset)


class BadFileReport:
    """Counts unreadable clips, names each once in a TSV, and stops a run that has too many."""

    def __init__(self, path: str, config: DataConfig) -> None:
        self._path, self._config = epath.Path(path), config
        self._known: dict[str, str] = {}
        self._rows = self._bad = 0
        if self._path.exists():
            lines = self._path.read_text().splitlines()[1:]
            self._known = dict(line.split("\t", 1) for line in lines)

    def add(self, item: dict[str, Any]) -> None:
        """Take the problems of one batch.

        Raises:
            UserError: the share of bad rows is clearly (by three standard deviations of the
                count) above `data.max_bad_fraction`.
        """
        self._rows += len(item["bad"])
        self._bad += len(item["problems"])
        new = {n: reason for n, reason in item["problems"] if n not in self._known}
        if new:
            self._known |= new
            lines = "".join(f"{name}\t{reason}\n" for name, reason in self._known.items())
            self._path.write_text("clip\treason\n" + lines)
        if self._bad - 3 * self._bad**0.5 > self._config.max_bad_fraction * self._rows:
            name, reason = next(iter(self._known.items()))
            raise UserError(
                f"{self._bad} of the first {self._rows} rows could not be read (allowed:"
                f" config.data.max_bad_fraction={self._config.max_bad_fraction:g}); {name}:"
                f" {reason}; all are in {self._path}; run tools/check_data.py on the manifest"
            )
