"""The label "tokens": the symbols of a clip's text, for recognition and speech synthesis."""

import dataclasses

import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data.labels import Labels
from uniwav_jax.errors import UserError
from uniwav_jax.text import alphabet, lexicon


def with_alphabet(config: Config, cache: str) -> Config:
    """Fill in an empty `text.symbols` with all symbols of the training texts, sorted.

    Args:
        config: the configuration, which names the manifests.
        cache: folder for the memory-mapped copies of manifests.

    Raises:
        UserError: no clip has text.
    """
    if config.text.symbols:
        return config
    symbols: set[str] = set()
    for source in config.data.manifest.split(","):
        corpus = manifest_lib.load(source.strip(), cache=cache)
        for row in range(len(corpus)):
            symbols.update(alphabet.units(corpus.label(row, "text"), config.text))
    if config.text.lexicon:  # the symbols are its phones; words outside the lexicon are not symbols
        phones = lexicon.load(config.text.lexicon).values()
        symbols &= {phone for word in phones for phone in word}
    if not symbols:
        raise UserError(
            f"{config.data.manifest}: no clip has text; task {config.task} needs a column 'text' in"
            " the manifest (`uniwav data manifest` reads LibriSpeech's transcripts)"
        )
    text = dataclasses.replace(config.text, symbols=tuple(sorted(symbols)))
    return dataclasses.replace(config, text=text)


def sizes(corpus: manifest_lib.Manifest, config: Config) -> dict[str, np.ndarray]:
    """{"tokens": number of symbols in each clip's text, int64 [N]}.

    It is 0 for a clip without text, and -1 for a text with symbols outside the alphabet.
    """
    count = alphabet.vocabulary(config.text).count
    counts = (count(corpus.label(row, "text")) for row in range(len(corpus)))
    return {"tokens": np.fromiter(counts, np.int64, len(corpus))}


def left_out(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{reason: bool [N], True for clips without a usable text}, from the result of `sizes`."""
    return {
        "without text": counts["tokens"] == 0,
        "with symbols outside config.text.symbols": counts["tokens"] < 0,
    }


def encode(corpus: manifest_lib.Manifest, clip: int, config: Config) -> dict[str, list[int]]:
    """{"tokens": the numbers of the symbols in a clip's text, from 1 on}."""
    return {"tokens": alphabet.vocabulary(config.text).encode(corpus.label(clip, "text"))}


TEXT = Labels(
    dtypes={"tokens": np.int32},
    encode=encode,
    sequences=("tokens",),
    sizes=sizes,
    left_out=left_out,
    whole_clips=True,
    prepare=with_alphabet,
    fields=("text.symbols", "text.units", "text.lexicon", "text.lowercase"),
)
