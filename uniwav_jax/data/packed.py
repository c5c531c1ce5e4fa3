"""Packed speech: clips in sharded ArrayRecord, laid out as a tensorflow-datasets folder.

    folder/uniwav_speech-train.array_record-00000-of-00004 ...   one record a clip, in order
    folder/features.json, dataset_info.json                      for tfds.builder_from_directory
    folder/manifest.tsv                                          lengths, for the batch plan

Features: speech int16 [samples], text, speaker_id, id. Written here and not by a
`GeneratorBasedBuilder`, whose shuffler needs TensorFlow as soon as a dataset passes 1 GB; shards
are streamed, so memory stays constant. TensorFlow is never imported.
"""

import contextlib
import io
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

NAME, SPLIT = "uniwav_speech", "train"


def _features() -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "speech": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "text": tfds.features.Text(),
            "speaker_id": tfds.features.Text(),
            "id": tfds.features.Text(),
        }
    )


def write(
    folder: str | pathlib.Path,
    clips: Iterable[dict[str, Any]],
    *,
    sample_rate: int,
    shard_seconds: float,
) -> int:
    """Write `clips` (dicts with the four features) in order; returns how many there were.

    The folder must be new or empty; it is complete when dataset_info.json is there, and is not
    completed without clips.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    features = _features()
    shards: list[list[int]] = []  # bytes and clips of each
    writer, room = None, 0
    with (folder / "manifest.tsv").open("w", encoding="utf-8") as manifest:
        manifest.write("path\tsamples\tsample_rate\tspeaker\ttext\n")
        for clip in clips:
            if room <= 0:
                if writer:
                    writer.close()
                path = folder / f"part-{len(shards):05d}"
                writer = ArrayRecordWriter(str(path), "group_size:1")  # random access
                room = int(shard_seconds * sample_rate)
                shards.append([0, 0])
            record = features.serialize_example(clip)
            writer.write(record)
            room -= len(clip["speech"])
            shards[-1][0] += len(record)
            shards[-1][1] += 1
            fields = (
                clip["id"],
                len(clip["speech"]),
                sample_rate,
                clip["speaker_id"],
                clip["text"],
            )
            manifest.write("\t".join(map(str, fields)) + "\n")
    if writer is None:
        return 0
    writer.close()
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=NAME, split=SPLIT, filetype_suffix="array_record"
    )
    for index, path in enumerate(template.sharded_filepaths(num_shards=len(shards))):
        (folder / f"part-{index:05d}").rename(path)
    split = tfds.core.SplitInfo(
        name=SPLIT,
        shard_lengths=[clips for _, clips in shards],
        num_bytes=sum(size for size, _ in shards),
        filename_template=template,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=[split],
            filename_template=template,
            check_data=False,  # that check reads through TensorFlow
            description="Speech packed by uniwav_jax",
        )
    return sum(clips for _, clips in shards)


class PackedReader:
    """Random access to the audio of a packed folder."""

    def __init__(self, folder: str) -> None:
        info = json.loads((epath.Path(folder) / "dataset_info.json").read_text())
        count = len(info["splits"][0]["shardLengths"])
        name = f"{info['name']}-{info['splits'][0]['name']}.array_record"
        files = [f"{folder}/{name}-{i:05d}-of-{count:05d}" for i in range(count)]
        self._records = grain.sources.ArrayRecordDataSource(files)
        self._features = tfds.features.FeaturesDict.from_config(folder)

    def __len__(self) -> int:
        return len(self._records)

    def speech(self, row: int) -> np.ndarray:
        """int16 [samples] of clip `row`."""
        return self._features.deserialize_example_np(self._records[row])["speech"]
