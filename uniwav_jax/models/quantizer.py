"""Vector quantisers: codebooks that follow the data by running averages, one or several in a row.

A codebook is {"sums": S float32 [K, V, D], "counts": c float32 [K, V]}; codeword v is S_v / c_v.
The K codebooks quantise K different layers (pretraining), or each quantises what the ones before it
left over (a codec's residual quantiser; K stages). All of it is float32, because in bfloat16 the
running averages stop moving.
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
        The normalised x, float32 [K, B, T, D], and the variance it had, float32 [K, B], averaged
        over channels: near 0 in a collapsed layer.
    """
    x = x_KxBxTxD.astype(jnp.float32)
    weight = frame_mask_BxT[None, :, :, None].astype(jnp.float32)
    count = jnp.maximum(weight.sum(2, keepdims=True), 1.0)
    mean = (x * weight).sum(2, keepdims=True) / count
    centred = x - mean
    variance = (jnp.square(centred) * weight).sum(2, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-5), variance.mean((2, 3))


# The start.


def init(key: jax.Array, *, books: int, codewords: int, width: int) -> PyTree:
    """Gaussian noise, instance-normalised over the codewords, and counts of 1."""
    noise = jax.random.normal(key, (books, 1, codewords, width))
    sums = instance_norm(noise, jnp.ones((1, codewords), bool))[0][:, 0]
    return {"sums": sums, "counts": jnp.ones((books, codewords))}


def choose_frames(key: jax.Array, frame_mask_BxT: jax.Array, codewords: int) -> jax.Array:
    """Assign a random real frame to each codeword: int32 [B, T], the index of the codeword.

    Start codewords there with `update(books, chosen_statistics(...), 0.0)`: from noise few of them
    ever win a frame when batches are small. Frames that are not chosen have an index of at least
    `codewords`. With fewer real frames than codewords the last codewords get none and stay.
    """
    score = jnp.where(frame_mask_BxT, jax.random.uniform(key, frame_mask_BxT.shape), jnp.inf)
    rank_BxT = jnp.argsort(jnp.argsort(score, axis=None)).reshape(score.shape)
    return jnp.where(frame_mask_BxT, rank_BxT, codewords).astype(jnp.int32)


def chosen_statistics(targets_KxBxTxD: jax.Array, chosen_BxT: jax.Array, codewords: int) -> PyTree:
    """`statistics` of the frames of `choose_frames`, the same frames in all books."""
    codes_KxBxT = jnp.broadcast_to(chosen_BxT, targets_KxBxTxD.shape[:3])
    return statistics(targets_KxBxTxD, codes_KxBxT, chosen_BxT < codewords, codewords)


# Codes, and running averages of the targets that fall on each codeword.


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
    """Sums m [K, V, D] and counts n [K, V] of the targets that fell on each codeword; float32.

    They cover the whole (global) batch: under jit with sharded rows XLA inserts the all-reduce.

    Args:
        targets_KxBxTxD: float32.
        codes_KxBxT: int32; codes outside 0 ... codewords - 1 count nowhere.
        mask_BxT: bool, True on frames that count.
        codewords: V.
    """
    hit_KxBxTxV = jax.nn.one_hot(codes_KxBxT, codewords) * mask_BxT[None, :, :, None]
    sums = jnp.einsum("KBTV,KBTD->KVD", hit_KxBxTxV, targets_KxBxTxD, precision=EXACT)
    return {"sums": sums, "counts": hit_KxBxTxV.sum((1, 2))}


def update(codebooks: PyTree, batch: PyTree, decay: float) -> PyTree:
    """S <- d S + (1-d) m and c <- d c + (1-d) n for codewords hit; the others stay untouched.

    Args:
        codebooks: the books.
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

    This is for residual quantisers, where codewords that start far from the data never win a frame.
    A codeword that moves starts with a count of twice `dead`, so that it has time to win frames.

    Args:
        codebooks: the books.
        batch: `statistics` of the frames by their nearest codeword.
        candidates: `statistics` of at most one frame per codeword, to which it moves.
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
    """exp(entropy) of each book's distribution over codewords, averaged over books; float32 []."""
    p = probability_KxV / jnp.maximum(probability_KxV.sum(-1, keepdims=True), 1e-9)
    entropy = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-20)), 0.0), axis=-1)
    return jnp.exp(entropy).mean()


# Residual quantisation (EnCodec, arXiv 2210.13438, section 3.2).


def encode(words_KxVxD: jax.Array, z_BxTxD: jax.Array) -> jax.Array:
    """Codes of each stage, int32 [K, B, T]; each stage codes what the stages before left over."""

    def stage(left_BxTxD: jax.Array, words_VxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes_BxT = nearest(words_VxD[None], left_BxTxD[None])[0]
        return left_BxTxD - words_VxD[codes_BxT], codes_BxT

    return jax.lax.scan(stage, z_BxTxD.astype(jnp.float32), words_KxVxD)[1]


def decode(words_KxVxD: Sequence[jax.Array], codes: Sequence[jax.Array]) -> jax.Array:
    """Sums of codewords, float32 [..., D], of codes [K, ...]; fewer codes use the first stages.

    Both are NumPy or JAX arrays.
    """
    return sum(words_VxD[stage] for words_VxD, stage in zip(words_KxVxD, codes))


def residual(
    codebooks: PyTree,
    z_BxTxD: jax.Array,
    counted_B: jax.Array,
    candidates_BxT: jax.Array,
    stages_B: jax.Array | None,
) -> tuple[jax.Array, list[jax.Array], PyTree]:
    """Quantise latents and collect what the loss and `update_and_revive` need.

    Args:
        codebooks: one per stage.
        z_BxTxD: latents, float32.
        counted_B: bool, rows that count in the statistics.
        candidates_BxT: int32, the codeword that may move to this frame; V or more for none.
        stages_B: int32, the number of stages that each row goes through; None: all.

    Returns:
        The quantised latents, float32 [B, T, D]; per stage the squared distance between what the
        stage received and its codeword, [B, T, D] and 0 in rows that skip the stage, whose gradient
        goes to the latents; {"targets", "candidates"}: `statistics` of all stages.
    """
    stages, codewords_each = codebooks["counts"].shape
    left_BxTxD, quantised_BxTxD = z_BxTxD, jnp.zeros_like(z_BxTxD)
    distances, found = [], []
    for stage in range(stages):
        book = jax.tree.map(lambda leaf, s=stage: leaf[s : s + 1], codebooks)
        used_B = jnp.ones(len(z_BxTxD), bool) if stages_B is None else stages_B > stage
        target = jax.lax.stop_gradient(left_BxTxD)[None]
        codes = assign(book, target)
        mask_BxT = jnp.broadcast_to((used_B & counted_B)[:, None], codes.shape[1:])
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
