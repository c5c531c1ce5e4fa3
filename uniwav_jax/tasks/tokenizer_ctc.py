"""A linear head that recognises aligned phones in speech tokens by CTC, as in SiTok.

It makes the tokens say more of what is spoken, and is not needed once they are trained. Clips
without phones have no loss.
"""

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.losses import ctc
from uniwav_jax.types import PyTree


def init(key: jax.Array, config: Config) -> PyTree:
    """{"kernel" [E, V], "bias" [V]}: column 0 is the blank, the others those of `tts.phones`."""
    shape = (config.model.decoder.width, len(config.tts.phones) + 1)
    return {
        "kernel": jax.nn.initializers.glorot_uniform()(key, shape),
        "bias": jnp.zeros(shape[1]),
    }


def targets(mask_BxT: jax.Array, phones_BxU: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The targets of CTC, int32 [B, U + 1], and the number of phones that count of each row.

    Rows with too few frames for their phones do not count.

    Args:
        mask_BxT: bool, True on real frames.
        phones_BxU: int32 from 1 on, -1 after each row's end; U may be 0.
    """
    padded = jnp.pad(phones_BxU, ((0, 0), (0, 1)), constant_values=-1)  # the loss needs U > 0
    phones_B = jnp.where(ctc.possible(mask_BxT, padded), ctc.token_mask(padded).sum(-1), 0)
    return padded, phones_B


def sums(
    head: PyTree, read_BxTxE: jax.Array, mask_BxT: jax.Array, phones_BxU: jax.Array
) -> dict[str, jax.Array]:
    """The sum of the CTC losses of the rows in nats, and counts; float32 [].

    Args:
        head: the result of `init`.
        read_BxTxE: what the decoder reads of the books, float32.
        mask_BxT: bool, True on real frames.
        phones_BxU: int32 from 1 on, -1 after each row's end.

    Returns:
        "ctc"; "phones", the number of phones that it is the loss of; and "impossible", the number
        of rows with too few frames for their phones, which have no loss.
    """
    logits_BxTxV = jnp.matmul(read_BxTxE, head["kernel"]) + head["bias"]
    targets_BxU, phones_B = targets(mask_BxT, phones_BxU)
    wanted_B = mask_BxT.any(1) & ctc.token_mask(targets_BxU).any(1)
    return {
        "ctc": ctc.loss(logits_BxTxV, mask_BxT, targets_BxU).sum(),
        "phones": phones_B.sum(dtype=jnp.float32),
        "impossible": (wanted_B & (phones_B == 0)).sum(dtype=jnp.float32),
    }
