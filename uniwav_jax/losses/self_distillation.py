"""Masked prediction of the teacher's codewords."""

import jax
import jax.numpy as jnp


def cross_entropy_sum(
    logits_KxBxTxV: jax.Array, codes_KxBxT: jax.Array, mask_BxT: jax.Array
) -> jax.Array:
    """Sum over masked frames of the cross-entropy in nats, averaged over the K books; float32 [].

    Divide it by the global number of masked frames to get L_enc.

    Args:
        logits_KxBxTxV: the student's predictions, any float dtype.
        codes_KxBxT: the teacher's codewords, int32.
        mask_BxT: bool, True on frames that are hidden from the student.
    """
    log_p = jax.nn.log_softmax(logits_KxBxTxV.astype(jnp.float32), axis=-1)
    chosen = jnp.take_along_axis(log_p, codes_KxBxT[..., None], axis=-1)[..., 0]
    return -(chosen * mask_BxT).sum() / logits_KxBxTxV.shape[0]


def mean_prediction(logits_KxBxTxV: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Sum over masked frames of softmax(logits), float32 [K, V]; its perplexity shows collapse."""
    p = jax.nn.softmax(logits_KxBxTxV.astype(jnp.float32), axis=-1)
    return (p * mask_BxT[None, :, :, None]).sum((1, 2))
