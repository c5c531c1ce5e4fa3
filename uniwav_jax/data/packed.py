"""Packed speech: clips, or their latents, in ArrayRecord shards of a tensorflow-datasets folder.

    folder/uniwav_speech-train.array_record-00000-of-00004 ...   one record per clip, in order
    folder/features.json, dataset_info.json                      for tfds.builder_from_directory
    folder/manifest.tsv                                          lengths, for the batch plan
    folder/latents.json                                          only with latents: their codec

A record has speech, int16 [samples], or latents, float16 [frames, channels], and the texts text,
speaker_id and id. The shuffler of tfds' `GeneratorBasedBuilder` needs TensorFlow for datasets above
1 GB, so shards are written here. They are streamed, so that memory stays constant, and TensorFlow
is never imported.
"""

import contextlib
import io
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from uniwav_jax.errors import UserError

NAME, SPLIT = "uniwav_speech", "train"
LABELS = ("text", "speaker_id", "id")


def features_dict(channels: int = 0) -> tfds.features.FeaturesDict:
    """The fields of a record: with latents of `channels` channels, or with speech if it is 0."""
    tensor, shape, dtype = ("latents", (None, channels), np.float16)
    if not channels:
        tensor, shape, dtype = ("speech", (None,), np.int16)
    value = tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")
    return tfds.features.FeaturesDict(
        {tensor: value, **{label: tfds.features.Text() for label in LABELS}}
    )


def write(
    folder: str | pathlib.Path,
    clips: Iterable[dict[str, Any]],
    *,
    sample_rate: int,
    shard_seconds: float,
    columns: Sequence[str] = (),
) -> int:
    """Write clips in their order.

    Args:
        folder: a new or empty folder. It is complete once it has a dataset_info.json, which is not
            written if there are no clips.
        clips: dicts with "speech" (int16 [samples]), "text", "speaker_id", "id"
            and, where there are `columns`, "more": their values.
        sample_rate: rate of the clips in Hz.
        shard_seconds: a shard ends after the clip that reaches this length in seconds.
        columns: names of further columns of the manifest, which are not in the records.

    Returns:
        The number of clips.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    features = features_dict()
    shards: list[tuple[int, int]] = []  # (bytes, clips)
    lines: list[str] = []

    def limited(first: dict[str, Any], rest: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        room, clip = shard_seconds * sample_rate, first
        while clip is not None:
            lines.append(manifest_line(clip, len(clip["speech"]), sample_rate))
            yield clip
            room -= len(clip["speech"])
            clip = next(rest, None) if room > 0 else None

    clips = iter(clips)
    for first in clips:
        path = folder / f"part-{len(shards):05d}"
        shards.append(write_shard(path, limited(first, clips), features))
    if shards:
        describe(folder, features, shards, lines, columns)
    return len(lines)


def manifest_line(clip: dict[str, Any], samples: int, sample_rate: int) -> str:
    """One row of the folder's manifest; tabs and line ends of a JSON manifest become spaces."""
    labels = (clip["speaker_id"], clip["text"], *clip.get("more", ()))
    fields = (clip["id"], samples, sample_rate, *(" ".join(label.split()) for label in labels))
    return "\t".join(map(str, fields)) + "\n"


def write_shard(
    path: pathlib.Path, clips: Iterable[dict[str, Any]], features: tfds.features.FeaturesDict
) -> tuple[int, int]:
    """Write one file of records; returns its bytes (of the records) and its number of clips."""
    writer = ArrayRecordWriter(str(path), "group_size:1")  # allows random access
    size = count = 0
    for clip in clips:
        record = features.serialize_example({name: clip[name] for name in features})
        writer.write(record)
        size, count = size + len(record), count + 1
    writer.close()
    return size, count


def describe(
    folder: pathlib.Path,
    features: tfds.features.FeaturesDict,
    shards: list[tuple[int, int]],
    lines: list[str],
    columns: Sequence[str] = (),
) -> None:
    """Rename the files part-00000, ... and write the folder's manifest and description.

    Args:
        folder: folder with the files.
        features: fields of the records.
        shards: (bytes, clips) of each file.
        lines: the manifest's rows, of all files.
        columns: names of the columns after `text`.
    """
    names = ("path", "samples", "sample_rate", "speaker", "text", *columns)
    text = "\t".join(names) + "\n" + "".join(lines)
    (folder / "manifest.tsv").write_text(text, encoding="utf-8")
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


class PackedReader:
    """Random access to the clips of a packed folder.

    Raises:
        UserError: a shard or a description is missing or damaged. Damage inside a shard is found
            only when the record is read.
    """

    def __init__(self, folder: str) -> None:
        file = f"{folder}/dataset_info.json"
        try:
            info = json.loads(epath.Path(file).read_text())
            count = len(info["splits"][0]["shardLengths"])
            name = f"{info['name']}-{info['splits'][0]['name']}.array_record"
            file = f"{folder}/features.json"
            self._features = tfds.features.FeaturesDict.from_config(folder)
            shards = [f"{folder}/{name}-{i:05d}-of-{count:05d}" for i in range(count)]
            try:
                self._records = grain.sources.ArrayRecordDataSource(shards)
            except Exception:
                for file in shards:  # the error does not name the shard
                    grain.sources.ArrayRecordDataSource([file])
                raise
        except Exception as error:  # array_record and tfds raise many kinds on damage
            reason = " ".join(str(error).split())
            raise UserError(
                f"{file} cannot be read ({reason}); copy the folder again, or pack it again with"
                " 'uniwav data pack'"
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def speech(self, row: int) -> np.ndarray:
        """The samples of clip `row`, int16 [samples]."""
        return self._features.deserialize_example_np(self._records[row])["speech"]

    def latents(self, row: int) -> np.ndarray:
        """The latents of clip `row`, float16 [frames, channels]."""
        return self._features.deserialize_example_np(self._records[row])["latents"]
