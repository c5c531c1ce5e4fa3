"""Connectionist temporal classification (Graves et al. 2006); token 0 is the blank."""

import jax
import jax.numpy as jnp
import optax


def token_mask(tokens_BxU: jax.Array) -> jax.Array:
    """Bool [B, U], True on a text's tokens and False after its end, where tokens are -1."""
    return tokens_BxU >= 0


def needed_frames(tokens_BxU: jax.Array) -> jax.Array:
    """Fewest frames that can emit each text, int32 [B]: one per token and per repetition.

    Two equal tokens in a row need a blank between them.
    """
    mask = token_mask(tokens_BxU)
    equal = (tokens_BxU[:, 1:] == tokens_BxU[:, :-1]) & mask[:, 1:]
    return mask.sum(-1) + equal.sum(-1)


def loss(logits_BxTxV: jax.Array, frame_mask_BxT: jax.Array, tokens_BxU: jax.Array) -> jax.Array:
    """-ln p(text) of each row in nats, float32 [B]; 0 for rows that are not `possible`.

    Args:
        logits_BxTxV: any float dtype; V counts the symbols and the blank.
        frame_mask_BxT: bool, True on real frames.
        tokens_BxU: int32, -1 after the end of each text.
    """
    mask = token_mask(tokens_BxU)
    fits_B = possible(frame_mask_BxT, tokens_BxU)
    # Rows that are not possible get an empty text, because otherwise their loss would be 1e5.
    labels = jnp.where(mask & fits_B[:, None], tokens_BxU, 0)
    nll_B = optax.ctc_loss(
        logits_BxTxV.astype(jnp.float32),
        (~frame_mask_BxT).astype(jnp.float32),
        labels,
        (~(mask & fits_B[:, None])).astype(jnp.float32),
    )
    return jnp.where(fits_B, nll_B, 0.0)


def possible(frame_mask_BxT: jax.Array, tokens_BxU: jax.Array) -> jax.Array:
    """Bool [B], True for rows with a text and enough frames for it."""
    needed_B = needed_frames(tokens_BxU)
    return (needed_B > 0) & (needed_B <= frame_mask_BxT.sum(-1))
