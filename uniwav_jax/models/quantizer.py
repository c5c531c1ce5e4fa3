"""Vector quantisers, whose codewords are running averages of the data.

K codebooks are {"sums": S float32 [K, V, D], "counts": c float32 [K, V]}; codeword v is S_v / c_v.
They quantise K different layers (in pretraining), or each quantises the residual of the codebooks
before it (a codec's residual quantiser with K stages). All arrays are float32, because running
averages in bfloat16 stop changing.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from uniwav_jax.types import PyTree

EXACT = jax.lax.Precision.HIGHEST


def instance_norm(x_KxBxTxD: jax.Array, frame_mask_BxT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Zero mean and unit variance per row and channel over real frames, without affine.

    Values on padding are meaningless and must stay masked.

    Returns:
        The normalised x, float32 [K, B, T, D]; and its variance before, averaged over channels,
        float32 [K, B], which is near 0 in a collapsed layer.
    """
    x = x_KxBxTxD.astype(jnp.float32)
    weight = frame_mask_BxT[None, :, :, None].astype(jnp.float32)
    count = jnp.maximum(weight.sum(2, keepdims=True), 1.0)
    mean = (x * weight).sum(2, keepdims=True) / count
    centred = x - mean
    variance = (jnp.square(centred) * weight).sum(2, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-5), variance.mean((2, 3))


# Initialisation.


def init(key: jax.Array, *, books: int, codewords: int, width: int) -> PyTree:
    """Initialise codebooks with Gaussian noise, instance-normalised over codewords, and counts 1.

    Args:
        key: random key.
        books: K, number of codebooks.
        codewords: V, codewords per codebook.
        width: D, channels.
    """
    noise = jax.random.normal(key, (books, 1, codewords, width))
    sums = instance_norm(noise, jnp.ones((1, codewords), bool))[0][:, 0]
    return {"sums": sums, "counts": jnp.ones((books, codewords))}


def choose_frames(key: jax.Array, frame_mask_BxT: jax.Array, codewords: int) -> jax.Array:
    """Choose a random real frame for each codeword; int32 [B, T], the codeword of each frame.

    `update(books, chosen_statistics(...), 0.0)` moves the codewords to these frames: if they start
    from noise and batches are small, few of them are ever nearest to a frame. Frames that are not
    chosen have an index of at least `codewords`. If there are fewer real frames than codewords, the
    last codewords get no frame and stay unchanged.
    """
    score = jnp.where(frame_mask_BxT, jax.random.uniform(key, frame_mask_BxT.shape), jnp.inf)
    rank_BxT = jnp.argsort(jnp.argsort(score, axis=None)).reshape(score.shape)
    return jnp.where(frame_mask_BxT, rank_BxT, codewords).astype(jnp.int32)


def chosen_statistics(targets_KxBxTxD: jax.Array, chosen_BxT: jax.Array, codewords: int) -> PyTree:
    """`statistics` of the frames that `choose_frames` chose, the same frames in all codebooks."""
    codes_KxBxT = jnp.broadcast_to(chosen_BxT, targets_KxBxTxD.shape[:3])
    return statistics(targets_KxBxTxD, codes_KxBxT, chosen_BxT < codewords, codewords)


# Codes, and running averages of the targets that are assigned to each codeword.


def codewords(codebooks: PyTree) -> jax.Array:
    """Codewords S / c, float32 [K, V, D]."""
    return codebooks["sums"] / codebooks["counts"][..., None]


def nearest(words_KxVxD: jax.Array, targets_KxBxTxD: jax.Array) -> jax.Array:
    """Index of the codeword at the smallest Euclidean distance; int32 [K, B, T]."""
    # |x - e|^2 = |x|^2 - 2 x.e + |e|^2, and |x|^2 does not change the order.
    product = jnp.einsum("KBTD,KVD->KBTV", targets_KxBxTxD, words_KxVxD, precision=EXACT)
    distance = jnp.square(words_KxVxD).sum(-1)[:, None, None] - 2.0 * product
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


def assign(codebooks: PyTree, targets_KxBxTxD: jax.Array) -> jax.Array:
    """`nearest` codeword of each target in its codebook; int32 [K, B, T]."""
    return nearest(codewords(codebooks), targets_KxBxTxD)


def statistics(
    targets_KxBxTxD: jax.Array, codes_KxBxT: jax.Array, mask_BxT: jax.Array, codewords: int
) -> PyTree:
    """Sum and count the targets of each codeword.

    They cover the whole (global) batch: under jit with sharded rows XLA inserts the all-reduce.

    Args:
        targets_KxBxTxD: float32.
        codes_KxBxT: int32; frames with codes outside 0 ... codewords - 1 are ignored.
        mask_BxT: bool, True on frames that count.
        codewords: V.

    Returns:
        {"sums": m float32 [K, V, D], "counts": n float32 [K, V]}.
    """
    hit_KxBxTxV = jax.nn.one_hot(codes_KxBxT, codewords) * mask_BxT[None, :, :, None]
    sums = jnp.einsum("KBTV,KBTD->KVD", hit_KxBxTxV, targets_KxBxTxD, precision=EXACT)
    return {"sums": sums, "counts": hit_KxBxTxV.sum((1, 2))}


def update(codebooks: PyTree, batch: PyTree, decay: float) -> PyTree:
    """S <- d S + (1-d) m and c <- d c + (1-d) n for codewords with n > 0; others do not change.

    Args:
        codebooks: the codebooks.
        batch: `statistics` of a batch.
        decay: d.
    """
    hit = batch["counts"] > 0

    def blend(old: jax.Array, new: jax.Array, hit: jax.Array) -> jax.Array:
        return jnp.where(hit, decay * old + (1.0 - decay) * new, old)

    return {
        "sums": blend(codebooks["sums"], batch["sums"], hit[..., None]),
        "counts": blend(codebooks["counts"], batch["counts"], hit),
    }


def update_and_revive(
    codebooks: PyTree, batch: PyTree, candidates: PyTree, decay: float, dead: float
) -> PyTree:
    """S <- d S + (1-d) m and c <- d c + (1-d) n for all; rarely used codewords move to a frame.

    Residual quantisers need this, because codewords that start far from the data are never nearest
    to a frame. A codeword that moves gets a count of twice `dead`, so that frames can be assigned
    to it before it counts as rarely used again.

    Args:
        codebooks: the codebooks.
        batch: `statistics` of the frames by their nearest codeword.
        candidates: `statistics` of at most one frame per codeword, to which it may move.
        decay: d.
        dead: running count of frames per update below which a codeword moves.
    """
    new = jax.tree.map(lambda old, m: decay * old + (1.0 - decay) * m, codebooks, batch)
    moved = (new["counts"] < dead) & (candidates["counts"] > 0)
    frames = candidates["sums"] / jnp.maximum(candidates["counts"], 1.0)[..., None]
    return {
        "sums": jnp.where(moved[..., None], 2.0 * dead * frames, new["sums"]),
        "counts": jnp.where(moved, 2.0 * dead, new["counts"]),
    }


def perplexity(probability_KxV: jax.Array) -> jax.Array:
    """exp(entropy) of each codebook's distribution over codewords, averaged; float32 [].

    Args:
        probability_KxV: probabilities, or counts or sums in proportion to them.
    """
    p = probability_KxV / jnp.maximum(probability_KxV.sum(-1, keepdims=True), 1e-9)
    entropy = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-20)), 0.0), axis=-1)
    return jnp.exp(entropy).mean()


# Residual quantisation (EnCodec, arXiv 2210.13438, section 3.2).


def encode(words_KxVxD: jax.Array, z_BxTxD: jax.Array) -> jax.Array:
    """Codes of each stage, int32 [K, B, T]; each stage codes the residual of the stages before."""

    def stage(left_BxTxD: jax.Array, words_VxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes_BxT = nearest(words_VxD[None], left_BxTxD[None])[0]
        return left_BxTxD - words_VxD[codes_BxT], codes_BxT

    return jax.lax.scan(stage, z_BxTxD.astype(jnp.float32), words_KxVxD)[1]


def decode(words_KxVxD: Sequence[jax.Array], codes: Sequence[jax.Array]) -> jax.Array:
    """Sum the codewords of all stages, float32 [..., D].

    Args:
        words_KxVxD: codewords of each stage, as NumPy or JAX arrays.
        codes: int [K, ...]; fewer than K stages use the first codebooks.
    """
    return sum(words_VxD[stage] for words_VxD, stage in zip(words_KxVxD, codes))


def residual(
    codebooks: PyTree,
    z_BxTxD: jax.Array,
    counted_BxT: jax.Array,
    candidates_BxT: jax.Array,
    stages_B: jax.Array | None,
) -> tuple[jax.Array, list[jax.Array], PyTree]:
    """Quantise latents, and collect the inputs of the loss and of `update_and_revive`.

    Args:
        codebooks: one codebook per stage.
        z_BxTxD: latents, float32.
        counted_BxT: bool, frames that count in the statistics; [B, 1] for whole rows.
        candidates_BxT: int32, the codeword that may move to this frame; V or more for none.
        stages_B: int32, the number of stages that each row goes through; None: all.

    Returns:
        The quantised latents, float32 [B, T, D]; for each stage the squared distance between its
        input and the chosen codeword, float32 [B, T, D], which is 0 in rows that skip the stage and
        whose gradient reaches the latents; and {"targets", "candidates"}, `statistics` of all
        stages.
    """
    stages, codewords_each = codebooks["counts"].shape
    left_BxTxD, quantised_BxTxD = z_BxTxD, jnp.zeros_like(z_BxTxD)
    distances, found = [], []
    for stage in range(stages):
        book = jax.tree.map(lambda leaf, s=stage: leaf[s : s + 1], codebooks)
        used_B = jnp.ones(len(z_BxTxD), bool) if stages_B is None else stages_B > stage
        target = jax.lax.stop_gradient(left_BxTxD)[None]
        codes = assign(book, target)
        mask_BxT = jnp.broadcast_to(used_B[:, None] & counted_BxT, codes.shape[1:])
        found.append(
            {
                "targets": statistics(target, codes, mask_BxT, codewords_each),
                "candidates": statistics(target, candidates_BxT[None], mask_BxT, codewords_each),
            }
        )
        words = codewords(book)[0][codes[0]]
        words = jnp.where(used_B[:, None, None], words, 0.0)
        distances.append(jnp.where(used_B[:, None, None], jnp.square(left_BxTxD - words), 0.0))
        left_BxTxD, quantised_BxTxD = left_BxTxD - words, quantised_BxTxD + words
    sums = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    return quantised_BxTxD, distances, sums
