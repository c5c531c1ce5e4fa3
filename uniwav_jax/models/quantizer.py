"""Online clustering: one codebook per predicted layer, kept as running sums (method section 4).

A codebook is {"sums": S float32 [K, V, D], "counts": c float32 [K, V]}; codeword v is S_v / c_v.
Everything here is float32: in bfloat16 the running averages stop moving.
"""

import jax
import jax.numpy as jnp

from uniwav_jax.types import PyTree

EXACT = jax.lax.Precision.HIGHEST


def instance_norm(x_KxBxTxD: jax.Array, frame_mask_BxT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Zero mean and unit variance per row and channel over real frames; no affine; float32.

    Padded frames come out as garbage and must stay masked.

    Returns:
        The normalised x and the variance it had, [K, B], averaged over channels: near 0 in a
        collapsed layer.
    """
    x = x_KxBxTxD.astype(jnp.float32)
    weight = frame_mask_BxT[None, :, :, None].astype(jnp.float32)
    count = jnp.maximum(weight.sum(2, keepdims=True), 1.0)
    mean = (x * weight).sum(2, keepdims=True) / count
    centred = x - mean
    variance = (jnp.square(centred) * weight).sum(2, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-5), variance.mean((2, 3))


def init(key: jax.Array, *, books: int, codewords: int, width: int) -> PyTree:
    """Start: sums = instance-normalised Gaussian noise (over the codewords), counts = 1."""
    noise = jax.random.normal(key, (books, 1, codewords, width))
    sums = instance_norm(noise, jnp.ones((1, codewords), bool))[0][:, 0]
    return {"sums": sums, "counts": jnp.ones((books, codewords))}


def choose_frames(key: jax.Array, frame_mask_BxT: jax.Array, codewords: int) -> jax.Array:
    """A random real frame for each codeword to start at: int32 [B, T], the codeword's index.

    Frames that are not chosen have an index of at least `codewords`. With fewer real frames than
    codewords the last codewords get none.
    """
    score = jnp.where(frame_mask_BxT, jax.random.uniform(key, frame_mask_BxT.shape), jnp.inf)
    rank_BxT = jnp.argsort(jnp.argsort(score, axis=None)).reshape(score.shape)
    return jnp.where(frame_mask_BxT, rank_BxT, codewords).astype(jnp.int32)


def chosen_statistics(targets_KxBxTxD: jax.Array, chosen_BxT: jax.Array, codewords: int) -> PyTree:
    """`statistics` of the frames of `choose_frames`, the same frames in all books."""
    codes_KxBxT = jnp.broadcast_to(chosen_BxT, targets_KxBxTxD.shape[:3])
    return statistics(targets_KxBxTxD, codes_KxBxT, chosen_BxT < codewords, codewords)


def start_at_frames(
    codebooks: PyTree, key: jax.Array, targets_KxBxTxD: jax.Array, frame_mask_BxT: jax.Array
) -> PyTree:
    """Move every codeword to a random real frame, the same frames in all books; counts 1.

    From noise few of the 256 codewords ever win a frame when batches are small. With fewer frames
    than codewords the rest stay where they were.
    """
    words = codebooks["counts"].shape[1]
    chosen_BxT = choose_frames(key, frame_mask_BxT, words)
    return update(codebooks, chosen_statistics(targets_KxBxTxD, chosen_BxT, words), 0.0)


def codewords(codebooks: PyTree) -> jax.Array:
    """Codewords S / c, float32 [K, V, D]."""
    return codebooks["sums"] / codebooks["counts"][..., None]


def assign(codebooks: PyTree, targets_KxBxTxD: jax.Array) -> jax.Array:
    """Index of the nearest codeword by squared L2; int32 [K, B, T]."""
    words_KxVxD = codewords(codebooks)
    # |x - e|^2 = |x|^2 - 2 x.e + |e|^2, and |x|^2 does not change the order.
    product = jnp.einsum("KBTD,KVD->KBTV", targets_KxBxTxD, words_KxVxD, precision=EXACT)
    distance = jnp.square(words_KxVxD).sum(-1)[:, None, None] - 2.0 * product
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


def statistics(
    targets_KxBxTxD: jax.Array, codes_KxBxT: jax.Array, mask_BxT: jax.Array, codewords: int
) -> PyTree:
    """Sums m [K, V, D] and counts n [K, V] of the targets that fell on each codeword.

    Over the whole (global) batch: under jit with sharded rows XLA inserts the all-reduce.
    """
    hit_KxBxTxV = jax.nn.one_hot(codes_KxBxT, codewords) * mask_BxT[None, :, :, None]
    sums = jnp.einsum("KBTV,KBTD->KVD", hit_KxBxTxV, targets_KxBxTxD, precision=EXACT)
    return {"sums": sums, "counts": hit_KxBxTxV.sum((1, 2))}


def update(codebooks: PyTree, batch: PyTree, decay: float) -> PyTree:
    """S <- d S + (1-d) m and c <- d c + (1-d) n for codewords hit; the others stay untouched."""
    hit = batch["counts"] > 0

    def blend(old: jax.Array, new: jax.Array, hit: jax.Array) -> jax.Array:
        return jnp.where(hit, decay * old + (1.0 - decay) * new, old)

    return {
        "sums": blend(codebooks["sums"], batch["sums"], hit[..., None]),
        "counts": blend(codebooks["counts"], batch["counts"], hit),
    }


def update_and_revive(
    codebooks: PyTree, batch: PyTree, offered: PyTree, decay: float, dead: float
) -> PyTree:
    """S <- d S + (1-d) m and c <- d c + (1-d) n; what falls below `dead` moves to an offered frame.

    For residual quantisers, where codewords that start far from the data never win a frame. A
    moved codeword counts twice `dead`, which it has time to confirm.

    Args:
        codebooks: the books.
        batch: `statistics` of the frames by their nearest codeword.
        offered: `statistics` of one frame for each of some codewords.
        decay: d.
        dead: least running count of frames per update.
    """
    new = jax.tree.map(lambda old, m: decay * old + (1.0 - decay) * m, codebooks, batch)
    moved = (new["counts"] < dead) & (offered["counts"] > 0)
    frames = offered["sums"] / jnp.maximum(offered["counts"], 1.0)[..., None]
    return {
        "sums": jnp.where(moved[..., None], 2.0 * dead * frames, new["sums"]),
        "counts": jnp.where(moved, 2.0 * dead, new["counts"]),
    }


def perplexity(probability_KxV: jax.Array) -> jax.Array:
    """exp(entropy) of each book's distribution over codewords, averaged over books."""
    p = probability_KxV / jnp.maximum(probability_KxV.sum(-1, keepdims=True), 1e-9)
    entropy = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-20)), 0.0), axis=-1)
    return jnp.exp(entropy).mean()
