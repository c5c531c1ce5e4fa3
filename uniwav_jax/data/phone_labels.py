"""The labels "phones" and "ends": aligned phones of a crop, for speech synthesis.

`TARGETS` are the phones alone, as the symbols of CTC, for tasks that use them where there are any.
They are read from two columns of the manifest, which `uniwav data phones` adds:

    phones        symbols with single spaces between them (text/phones.py), "sil DH_B AH0_E ..."
    phone_ends    the end of each phone in seconds, "0.32 0.41 0.47 ..."
"""

import dataclasses
import functools

import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data.labels import Labels
from uniwav_jax.errors import UserError
from uniwav_jax.text import phones

COLUMNS = ("phones", "phone_ends")
ADVICE = "add them with 'uniwav data phones MANIFEST --alignments FOLDER'"


@functools.lru_cache(4)
def vocabulary(symbols: tuple[str, ...]) -> phones.Vocabulary:
    """The vocabulary of `tts.phones`."""
    return phones.Vocabulary(symbols)


def with_phones(config: Config, cache: str, *, optional: bool = False) -> Config:
    """Fill in an empty `tts.phones` with all phones of the training manifests, and `tts.stress`.

    Args:
        config: the configuration, which names the manifests.
        cache: folder for the memory-mapped copies of manifests.
        optional: whether manifests may lack the columns.

    Raises:
        UserError: a manifest lacks the columns and they are not optional, or no clip has phones.
    """
    if config.tts.phones:
        return config
    found: set[str] = set()
    stress = False
    for source in config.data.manifest.split(","):
        corpus = manifest_lib.load(source.strip(), cache=cache)
        if optional and not _has_columns(corpus):
            continue
        for row in range(len(corpus)):
            parts = [phones.split(symbol) for symbol in _symbols(corpus, row)]
            found.update(phone for phone, *_ in parts)
            stress = stress or any(mark for _, mark, _ in parts)
    if not found:
        raise UserError(f"{config.data.manifest}: no clip has phones; {ADVICE}")
    known = dataclasses.replace(config.tts, phones=tuple(sorted(found)), stress=stress)
    return dataclasses.replace(config, tts=known)


def _has_columns(corpus: manifest_lib.Manifest) -> bool:
    return all(column in corpus.more for column in COLUMNS)


def _symbols(corpus: manifest_lib.Manifest, row: int) -> list[str]:
    if not _has_columns(corpus):
        raise UserError(f"{corpus.source} has no columns {' and '.join(COLUMNS)}; {ADVICE}")
    return corpus.label(row, COLUMNS[0]).split()


def sizes(corpus: manifest_lib.Manifest, config: Config) -> dict[str, np.ndarray]:
    """The number of phones of each clip, int64 [N], once for each of the two labels."""
    counts = np.array([len(_symbols(corpus, row)) for row in range(len(corpus))], np.int64)
    return {"phones": counts, "ends": counts}


def left_out(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{reason: bool [N], True for clips without phones}."""
    return {"without phones": counts["phones"] == 0}


def encode(
    corpus: manifest_lib.Manifest, clip: int, config: Config, crop: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The phones of a crop, and the frame of the crop after each phone's last one.

    A phone has the frames whose centres lie in it; phones without a frame in the crop are left out,
    except those inside the crop that are shorter than a frame.

    Args:
        corpus: the manifest.
        clip: row of it.
        config: the configuration.
        crop: first sample and number of samples, at `features.sample_rate`.

    Returns:
        "phones" and "ends", int32 [U]; `ends` does not fall.

    Raises:
        UserError: the two columns have different lengths, or an end is no number.
    """
    symbols, ends = _symbols(corpus, clip), corpus.label(clip, COLUMNS[1]).split()
    try:
        seconds = np.array([float(end) for end in ends]) / corpus.speed
    except ValueError as error:
        raise UserError(f"{corpus.source}: {corpus.name(clip)}: phone_ends: {error}") from error
    if len(symbols) != len(seconds):
        raise UserError(
            f"{corpus.source}: {corpus.name(clip)} has {len(symbols)} phones and"
            f" {len(seconds)} phone_ends"
        )
    rate, hop = config.features.sample_rate, config.features.hop
    start, samples = crop
    frames = -(-samples // hop)
    # Frame t of the crop has its centre at start + (t + 1/2) hop samples.
    last_S = np.ceil((seconds * rate - start) / hop - 0.5).astype(np.int64)
    first_S = np.concatenate([[-np.inf], last_S[:-1]])
    inside = (last_S > 0) & (first_S < frames)
    number = vocabulary(config.tts.phones).number
    chosen = [number(symbol) for symbol, kept in zip(symbols, inside) if kept]
    found = np.clip(last_S[inside], 0, frames)
    if len(found):
        found[-1] = frames  # the aligner may stop a little before the audio
    return {"phones": np.array(chosen, np.int32), "ends": found.astype(np.int32)}


PHONES = Labels(
    dtypes={"phones": np.int32, "ends": np.int32},
    encode=encode,
    of_crops=True,
    sequences=("phones", "ends"),
    sizes=sizes,
    left_out=left_out,
    prepare=with_phones,
    fields=("tts.phones",),
)


def target_sizes(corpus: manifest_lib.Manifest, config: Config) -> dict[str, np.ndarray]:
    """The number of phones of each clip, int64 [N]; 0 where there are none."""
    if not _has_columns(corpus):
        return {"phones": np.zeros(len(corpus), np.int64)}
    return {"phones": sizes(corpus, config)["phones"]}


def encode_targets(
    corpus: manifest_lib.Manifest, clip: int, config: Config, crop: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The phones of a crop without stress and place, from 1 on, because 0 is the blank of CTC.

    Args:
        corpus, clip, config, crop: as for `encode`.

    Returns:
        "phones", int32 [U]; empty for a clip without phones.

    Raises:
        UserError: as for `encode`.
    """
    if not _has_columns(corpus) or not _symbols(corpus, clip):
        return {"phones": np.zeros(0, np.int32)}
    phone_U, *_ = phones.parts(encode(corpus, clip, config, crop)["phones"])
    return {"phones": phone_U + 1}


TARGETS = Labels(
    dtypes={"phones": np.int32},
    encode=encode_targets,
    of_crops=True,
    sequences=("phones",),
    sizes=target_sizes,
    prepare=functools.partial(with_phones, optional=True),
    fields=("tts.phones",),
)
