"""Reconstruction: how well a codec keeps speech, also if its latents have errors.

Gaussian noise on the latents imitates the errors of a model that generates them. Its strength is a
share of each channel's standard deviation over all clips.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.evaluation.systems import Clip, System
from uniwav_jax.measures.signal import Mean
from uniwav_jax.terminal import progress

NOISES = (0.0, 0.1, 0.3, 0.5)


def measure(
    system: System,
    clips: Sequence[Clip],
    judges: Judges,
    *,
    noises: Sequence[float] = NOISES,
    codebooks: int = 0,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Mean]], dict[str, dict[str, dict[str, Any]]]]:
    """Score decoded clips for each strength of the noise.

    Args:
        system: what encodes and decodes.
        clips: at the system's sample rate.
        judges: who score.
        noises: strengths, in standard deviations of each channel.
        codebooks: if not 0, codes of this many codebooks are decoded too, without noise.
        seed: of the noise, which is the same for each strength but for its scale.

    Returns:
        {condition: {measure: mean}} and {condition: {name of the clip: {measure: score}}}, where
        a condition is "noise 0.3" for example, or "4 codebooks".

    Raises:
        UserError: the codec has fewer codebooks than `codebooks`.
    """
    rate = system.features.sample_rate
    latents = [system.encode(clip.audio) for clip in clips]
    sigma_C = np.concatenate(latents).std(0)
    values = {f"noise {noise:g}": (noise, latents) for noise in noises}
    if codebooks:
        codes = [system.encode(clip.audio, stages=codebooks) for clip in clips]
        values[f"{codebooks} codebooks"] = (0.0, codes)
    means, scores = {}, {}
    for condition, (noise, frames) in values.items():
        random, scored = np.random.default_rng(seed), {}
        for clip, value in progress(list(zip(clips, frames, strict=True)), label=condition):
            if noise:
                spoil = noise * sigma_C * random.standard_normal(value.shape)
                value = value + spoil.astype(np.float32)
            scored[clip.name] = judges.score(clip, system.decode(value), sample_rate=rate)
        means[condition], scores[condition] = judges.means(list(scored.values())), scored
    return means, scores
