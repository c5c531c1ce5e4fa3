"""Clusters of 39 MFCCs as targets of pretraining (HuBERT, arXiv 2106.07447, section III).

In a short run a teacher that starts from random weights gives targets that mean little. Clusters of
MFCCs are related to phones from the first update on.
"""

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.features.mfcc import COEFFICIENTS
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import quantizer, uniwav
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.types import AddUp, Example, Metrics, PyTree

MFCCS = 3 * COEFFICIENTS


def init(key: jax.Array, config: Config) -> PyTree:
    """The codebook before the first batch, {"sums" [1, V, 39], "counts" [1, V]}."""
    return quantizer.init(key, books=1, codewords=config.distillation.codewords, width=MFCCS)


def normalised(mfcc_BxTxC: jax.Array, frame_mask_BxT: jax.Array) -> jax.Array:
    """MFCCs with zero mean and unit variance per row and channel, float32 [1, B, T, 39].

    Without the means, which are those of the speaker and the microphone, clusters say more about
    phones: in our measurement PNMI .387 instead of .363 across speakers.
    """
    return quantizer.instance_norm(mfcc_BxTxC[None], frame_mask_BxT)[0]


def start(
    books: PyTree,
    example: Example,
    frame_mask_BxT: jax.Array,
    chosen_BxT: jax.Array,
    config: Config,
    add_up: AddUp,
) -> PyTree:
    """The codebook with its codewords at chosen frames of the first batch.

    Args:
        books: the result of `init`.
        example: the first batch.
        frame_mask_BxT: bool, True on real frames.
        chosen_BxT: int32, the codeword that starts at each frame (`quantizer.choose_frames`).
        config: the configuration.
        add_up: adds up the results of a function over microbatches.
    """
    words = config.distillation.codewords

    def statistics(mfcc_BxTxC: jax.Array, mask_BxT: jax.Array, chosen_BxT: jax.Array) -> PyTree:
        return quantizer.chosen_statistics(normalised(mfcc_BxTxC, mask_BxT), chosen_BxT, words)

    rows = (example.labels["mfcc"], frame_mask_BxT, chosen_BxT)
    return quantizer.update(books, add_up(statistics, rows), 0.0)


def loss(
    head: PyTree,
    books: PyTree,
    student: EncoderOutput,
    example: Example,
    frame_mask_BxT: jax.Array,
    span_mask_BxT: jax.Array,
    candidates_BxT: jax.Array | None,
    weight: jax.Array,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """Cross-entropy of the cluster at each masked frame, and sums.

    Args:
        head: {"kernel" [1, D, V], "bias" [1, V]}.
        books: the codebook, as `start` returns it.
        student: the encoder's output for masked input.
        example: this microbatch's rows, with the label "mfcc".
        frame_mask_BxT: bool, True on real frames.
        span_mask_BxT: bool, True on masked frames.
        candidates_BxT: see `pretrain_draws.Draws`.
        weight: number of masked frames in the whole global batch, [].
        config: the configuration.

    Returns:
        The loss [], divided by `weight`, with that of the visible frames on request; and sums:
        "loss", the same; "targets" {"sums" [1, V, 39], "counts" [1, V]}, the masked frames of each
        cluster; and "candidates" likewise if codewords can move.
    """
    words = config.distillation.codewords
    target = normalised(example.labels["mfcc"], frame_mask_BxT)
    codes = quantizer.assign(books, target)
    logits = uniwav.predict_mfcc(head, student)
    counted_BxT = span_mask_BxT.astype(jnp.float32)
    if config.distillation.mfcc_visible:
        visible_BxT = frame_mask_BxT & ~span_mask_BxT
        counted_BxT += config.distillation.mfcc_visible * visible_BxT
    value = self_distillation.cross_entropy_sum(logits, codes, counted_BxT) / weight
    sums = {"loss": value, "targets": quantizer.statistics(target, codes, span_mask_BxT, words)}
    if candidates_BxT is not None:
        sums["candidates"] = quantizer.chosen_statistics(target, candidates_BxT, words)
    return value, sums


def metrics(sums: PyTree) -> Metrics:
    """The loss, the clusters' perplexity, and the loss above ln(perplexity) in nats."""
    perplexity = quantizer.perplexity(sums["targets"]["counts"])
    return {
        "loss_mfcc": sums["loss"],
        "mfcc_perplexity": perplexity,
        "loss_mfcc_above_targets": sums["loss"] - jnp.log(perplexity),
    }
