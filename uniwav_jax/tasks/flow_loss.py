"""L_dec, the error of the decoder's velocity, which all tasks that generate share (Eq. 8)."""

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.models import flow, uniwav
from uniwav_jax.types import PyTree


@struct.dataclass
class Path:
    """A point on the straight path from noise to data, for each row of a batch.

    Attributes:
        x1_BxTxC: normalised surface features, float32.
        x0_BxTxC: unit Gaussian noise, float32.
        t_B: flow times in [0, 1), float32.
    """

    x1_BxTxC: jax.Array
    x0_BxTxC: jax.Array
    t_B: jax.Array


def error(
    decoder: PyTree,
    path: Path,
    z_BxTxE: jax.Array,
    frame_mask_BxT: jax.Array,
    hidden_BxT: jax.Array,
    drop_B: jax.Array,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> jax.Array:
    """Squared error of the velocity on hidden frames, divided by `weight`; float32 [].

    Args:
        decoder: parameters of the decoder.
        path: points on the path.
        z_BxTxE: what the decoder is conditioned on, any float dtype.
        frame_mask_BxT: bool, True on real frames.
        hidden_BxT: bool, True on the frames that count.
        drop_B: bool, True for rows whose conditioning is the null vector, for guidance; with
            `flow.context` their decoder sees no visible frames either.
        weight: number of such frames in the global batch, [].
        key: dropout key; None for evaluation.
        config: the configuration. With `flow.context` the decoder reads the frames that are not
            hidden, too.
    """
    sigma, x1_BxTxC = config.flow.sigma, path.x1_BxTxC
    x_t = flow.path(path.x0_BxTxC, x1_BxTxC, path.t_B, sigma)
    u = flow.target(path.x0_BxTxC, x1_BxTxC, sigma)
    context_BxTxC = None
    if config.flow.context:
        unseen_BxT = hidden_BxT | drop_B[:, None]
        context_BxTxC = jnp.where(unseen_BxT[..., None], 0.0, x1_BxTxC)
    v = uniwav.decoder_module(config, x1_BxTxC.shape[-1]).apply(
        {"params": decoder},
        x_t,
        path.t_B,
        z_BxTxE,
        frame_mask_BxT,
        context_BxTxC=context_BxTxC,
        key=key,
    )
    return flow.squared_error_sum(v, u, hidden_BxT) / weight
