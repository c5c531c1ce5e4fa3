"""Labels: arrays that a loss reads besides the audio, made from columns of the manifest."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.data.manifest import Manifest

PADDING = -1  # fills a row after the end of its sequence


def _unchanged(config: Config, cache: str) -> Config:
    del cache
    return config


def _nothing(*_: Any) -> dict[str, np.ndarray]:
    return {}


@dataclasses.dataclass(frozen=True)
class Labels:
    """The functions with which a task turns columns of a manifest into arrays of the example.

    This object is pickled for reader processes, so its functions must be defined in a module.

    Attributes:
        dtypes: {name: dtype} of the arrays. A label is a scalar per clip, [B] in the batch, or a
            sequence, [B, U] in the batch. U is the length of the bucket's longest sequence, and
            shorter ones are padded with -1.
        encode: (manifest, clip, config) -> {name: value of this clip}; with `of_crops` its fourth
            argument is the crop, (first sample, number of samples) at `features.sample_rate`.
        of_crops: True if the labels depend on the crop, as phones with their times do.
        sequences: names of the labels that are sequences.
        sizes: (manifest, config) -> {name of a sequence: int64 [N], its length in each clip}.
        left_out: result of `sizes` -> {reason: bool [N], True for clips that cannot be used}.
        whole_clips: True if a label describes the whole clip, so that a clip longer than the
            longest bucket is left out instead of cropped.
        prepare: (config, cache folder) -> config with values that depend on the training data, such
            as an alphabet.
        fields: fields of the configuration ("group.name") on which the labels depend; checkpoints
            store them with the other properties of the training data.
    """

    dtypes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    encode: Callable[..., dict[str, Any]] = _nothing
    of_crops: bool = False
    sequences: tuple[str, ...] = ()
    sizes: Callable[[Manifest, Config], dict[str, np.ndarray]] = _nothing
    left_out: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = _nothing
    whole_clips: bool = False
    prepare: Callable[[Config, str], Config] = _unchanged
    fields: tuple[str, ...] = ()

    def empty(self, rows: int, lengths: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Arrays for `rows` rows: [rows, U] of padding, or [rows] of zeros for scalars.

        Args:
            rows: number of rows.
            lengths: {name: U} for the sequences.

        Returns:
            {name: array of the label's dtype}.
        """
        return {
            name: np.full((rows, lengths[name]), PADDING, dtype)
            if name in self.sequences
            else np.zeros(rows, dtype)
            for name, dtype in self.dtypes.items()
        }

    def fill(
        self,
        arrays: dict[str, np.ndarray],
        row: int,
        corpus: Manifest,
        clip: int,
        config: Config,
        crop: tuple[int, int] = (0, 0),
    ) -> None:
        """Write the labels of a clip into row `row` of `arrays`, which `empty` returned.

        Args:
            arrays: of all rows.
            row: number of the row.
            corpus: the manifest.
            clip: number of the clip in it.
            config: the configuration.
            crop: first sample and number of samples of the row; only `of_crops` labels read it.
        """
        if not self.dtypes:
            return
        more = (crop,) if self.of_crops else ()
        for name, value in self.encode(corpus, clip, config, *more).items():
            if arrays[name].ndim == 1:
                arrays[name][row] = value
            else:
                arrays[name][row, : len(value)] = value


NONE = Labels()
