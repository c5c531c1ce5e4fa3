"""Representation: how much the clusters of a codec's normalised latents say about phones.

256 codewords are fitted to the latents of speech by the codebook updates of training
(`codewords.fit`), once to the aligned clips themselves and once to speech of other speakers; their
PNMI (`measures/codebook_analysis.py`) shows what an encoder can read off single frames. Log-mel and
MFCC39 are the floors that latents have to beat.
"""

import functools

import jax
import numpy as np

from uniwav_jax.evaluation import codewords, speech_frames, units
from uniwav_jax.evaluation.speech_frames import Read
from uniwav_jax.evaluation.systems import MEL, System
from uniwav_jax.features import LogMel, mfcc
from uniwav_jax.measures import bootstrap, codebook_analysis
from uniwav_jax.measures.signal import Mean
from uniwav_jax.models import masking
from uniwav_jax.types import Batch

WORDS = 256
UPDATES = 50  # of the codewords
MFCC = "mfcc39"


def measure(
    name: str,
    manifest: str,
    alignments: str,
    *,
    fit_manifest: str | None = None,
    limit: int | None = None,
    fit_limit: int | None = None,
    words: int = WORDS,
    updates: int = UPDATES,
    seed: int = 0,
) -> dict[str, Mean]:
    """PNMI of clusters of a system's frames.

    Args:
        name: a codec folder, "mel", or "mfcc39" for 13 MFCC with deltas and double deltas.
        manifest: of the aligned clips.
        alignments: folder of their TextGrids.
        fit_manifest: speech of other speakers, to which codewords are fitted too, and on which the
            normalisation is measured; None: the aligned clips.
        limit: largest number of aligned clips; None: all.
        fit_limit: largest number of clips of `fit_manifest`.
        words: number of clusters.
        updates: of the codewords.
        seed: of the first codewords.

    Returns:
        "pnmi_same", with clusters of the same clips, and "pnmi_other", with clusters of
        `fit_manifest`; the intervals are by bootstrap over clips, of the measure and not of the
        clustering.

    Raises:
        UserError: as `units.read_clips` and `systems.System`.
    """
    system = System(MEL if name == MFCC else name)
    make = functools.partial(_read_mfcc, system) if name == MFCC else None
    fits, params = {}, None
    if fit_manifest:
        other = speech_frames.read(system, fit_manifest, limit=fit_limit)
        fits["pnmi_other"], params = other.clips, other.params
    aligned = speech_frames.read(
        system, manifest, alignments=alignments, limit=limit, params=params
    )
    fits = {"pnmi_same": aligned.clips, **fits}
    read = make() if make else speech_frames.make_read(system, aligned.params)
    if make:  # its channels differ in scale by two orders of magnitude
        read = codewords.standardised(read, fits.get("pnmi_other", aligned.clips))
    result = {}
    for key, clips in fits.items():
        books = codewords.fit(read, clips, updates=updates, seed=seed, words=words)
        codes_N = codewords.encode(codewords.nearest(read, books), aligned.clips)[0]
        result[key] = pnmi(codes_N, aligned.clips)
    return result


def pnmi(codes_N: np.ndarray, clips: units.Clips) -> Mean:
    """PNMI of codes with its 95 % interval by bootstrap over clips.

    Args:
        codes_N: int, of the real frames in the order of `clips.labels`.
        clips: the clips, with labels.
    """
    labels = np.concatenate(clips.labels)
    clip = np.repeat(np.arange(clips.count), [len(row) for row in clips.labels])
    counts = codebook_analysis.joint_counts_by_clip(codes_N, labels, clip)
    low, high = None, None
    if clips.count > 1:
        low, high = bootstrap.interval(counts, codebook_analysis.pnmi)
    value = codebook_analysis.pnmi(counts.sum(0))
    return Mean(value, low, high, clips.count, clips.count)


def _read_mfcc(system: System) -> Read:
    """Compile `batch -> MFCC39 float32 [1, B, T, 39], real frames bool [B, T]`."""
    log_mel = LogMel(system.config)

    @jax.jit
    def read(batch: Batch) -> tuple[jax.Array, jax.Array]:
        frames_B = log_mel.output_length(batch.samples)
        x_BxTxC = mfcc.mfcc(log_mel.raw({}, batch.audio), frames_B)
        return x_BxTxC[None], masking.frame_mask(frames_B, x_BxTxC.shape[1])

    return read
