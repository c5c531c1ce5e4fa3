"""Masked prediction of the teacher's codewords."""

import jax
import jax.numpy as jnp


def cross_entropy_sum(
    logits_KxBxTxV: jax.Array, codes_KxBxT: jax.Array, mask_BxT: jax.Array
) -> jax.Array:
    """Sum of the cross-entropy over masked frames, in nats, averaged over codebooks; float32 [].

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
    """Sum of softmax(logits) over masked frames, float32 [K, V].

    A low perplexity of this sum shows that the predictions collapsed to a few codewords.

    Args:
        logits_KxBxTxV: the student's predictions, any float dtype.
        mask_BxT: bool, True on frames that are hidden from the student.
    """
    p = jax.nn.softmax(logits_KxBxTxV.astype(jnp.float32), axis=-1)
    return (p * mask_BxT[None, :, :, None]).sum((1, 2))
