"""Scores a codec by comparing decoded speech with the original."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwav_jax.audio.reader import read_blocks
from uniwav_jax.errors import UserError
from uniwav_jax.inference import codec_files
from uniwav_jax.measures import signal
from uniwav_jax.terminal import progress


def score(
    codec: codec_files.FileCodec, sources: Sequence[str], *, codebooks: int = 0, noise: float = 0.0
) -> tuple[dict[str, Any], list[UserError]]:
    """Score each clip, and print the means with their 95 % intervals.

    A clip that a measure cannot score is left out of its mean; each mean states how many clips it
    covers.

    Args:
        codec: the codec.
        sources: paths of audio files, at least one.
        codebooks: number of codebooks to quantise with; 0: continuous latents.
        noise: standard deviation of Gaussian noise added to the latents, relative to each channel's
            own. It imitates the errors of a model that generates latents.

    Returns:
        {"codec": digest, "codebooks", "noise", "means": {measure: {"mean", "low", "high", "clips",
        "of"}}, "clips": {path: {measure: score}}}, and the errors of clips that cannot be read.

    Raises:
        UserError: no clip could be read, or both noise and codebooks are given.
    """
    if noise and codebooks:
        raise UserError("--noise is added to latents, not to codes; leave out --codebooks")
    random, rate = np.random.default_rng(0), codec.config.sample_rate
    for name in signal.missing():
        print(f"note: {name} needs: pip install {signal.PACKAGES[name]}", file=sys.stderr)
    clips: dict[str, dict[str, float]] = {}
    errors: list[UserError] = []
    for source in progress(sources, len(sources)):
        try:
            audio = np.concatenate(list(read_blocks(source, sample_rate=rate)))
        except UserError as error:
            errors.append(error)
            continue
        value = codec.encode([audio], stages=codebooks)
        if noise:
            spoil = noise * value.std(0) * random.standard_normal(value.shape)
            value = value + spoil.astype(np.float32)
        decoded = np.concatenate(list(codec.decode(value)))
        clips[source] = signal.scores(audio, decoded, sample_rate=rate)
    if not clips:
        raise UserError(f"no clip could be read; the first error: {errors[0]}")
    means = signal.means(list(clips.values()), signal.measures(rate))
    for name, mean in means.items():
        print(f"{name:>14} {mean}")
    document = {
        "codec": codec.digest,
        "codebooks": codebooks,
        "noise": noise,
        "means": {name: dataclasses.asdict(mean) for name, mean in means.items()},
        "clips": clips,
    }
    return document, errors
