"""Representation: how much the clusters of a codec's normalised latents say about phones.

256 codewords are fitted to the latents of speech by the codebook updates of training
(`codewords.fit`), once to the aligned clips themselves and once to speech of other speakers; their
PNMI (`measures/codebook_analysis.py`) shows what an encoder can read off single frames. Log-mel and
MFCC39 are the floors that latents have to beat.
"""

import jax
import numpy as np

from uniwav_jax.evaluation import codewords, speech_frames, units
from uniwav_jax.evaluation.speech_frames import Read, Speech
from uniwav_jax.evaluation.systems import System
from uniwav_jax.features import mfcc
from uniwav_jax.measures import bootstrap, codebook_analysis
from uniwav_jax.measures.signal import Mean
from uniwav_jax.models import masking
from uniwav_jax.types import Batch

WORDS = 256
UPDATES = 50  # of the codewords


def measure(
    system: System,
    aligned: Speech,
    other: Speech | None = None,
    *,
    cepstra: bool = False,
    words: int = WORDS,
    updates: int = UPDATES,
    seed: int = 0,
) -> dict[str, Mean]:
    """PNMI of clusters of a system's frames.

    Args:
        system: what the frames are of.
        aligned: the aligned clips.
        other: speech of other speakers, to which codewords are fitted too; None: only to `aligned`.
        cepstra: take MFCC39 of the log-mel frames instead, scaled to zero mean and unit variance.
        words: number of clusters.
        updates: of the codewords.
        seed: of the first codewords.

    Returns:
        "pnmi_same", with clusters of the same clips, and "pnmi_other", with clusters of `other`;
        the intervals are by bootstrap over clips, of the measure and not of the clustering.
    """
    read = read_mfcc(system) if cepstra else speech_frames.make_read(system, aligned.params)
    if cepstra:  # the channels differ in scale by two orders of magnitude
        read = codewords.standardised(read, (other or aligned).clips)
    result = {}
    for key, speech in (("pnmi_other", other), ("pnmi_same", aligned)):
        if speech is not None:
            books = codewords.fit(read, speech.clips, updates=updates, seed=seed, words=words)
            codes_N = codewords.encode(codewords.nearest(read, books), aligned.clips)[0]
            result[key] = pnmi(codes_N, aligned.clips)
    return result


def pnmi(codes_N: np.ndarray, clips: units.Clips) -> Mean:
    """PNMI of codes with its 95 % interval by bootstrap over clips.

    The interval is centred on the value. Resampled clips have fewer different frames, which raises
    PNMI, so the percentiles themselves would lie too high.

    Args:
        codes_N: int, of the real frames in the order of `clips.labels`.
        clips: the clips, with labels.
    """
    labels = np.concatenate(clips.labels)
    clip = np.repeat(np.arange(clips.count), [len(row) for row in clips.labels])
    counts = codebook_analysis.joint_counts_by_clip(codes_N, labels, clip)
    low, high = None, None
    if clips.count > 1:
        low, high = bootstrap.over_seeds([counts], codebook_analysis.pnmi)
    value = codebook_analysis.pnmi(counts.sum(0))
    return Mean(value, low, high, clips.count, clips.count)


def read_mfcc(system: System) -> Read:
    """Compile `batch of log-mel -> MFCC39 float32 [1, B, T, 39], real frames bool [B, T]`."""

    @jax.jit
    def read(batch: Batch) -> tuple[jax.Array, jax.Array]:
        frames_B = system.features.output_length(batch.samples)
        x_BxTxC = mfcc.mfcc(batch.latents, frames_B)
        return x_BxTxC[None], masking.frame_mask(frames_B, x_BxTxC.shape[1])

    return read
