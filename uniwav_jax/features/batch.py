"""Surface features of a batch, as every loss and every model reads them."""

import jax
import jax.numpy as jnp

from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.parallel.mesh import shard_rows
from uniwav_jax.types import Batch, PyTree


def surface(
    batch: Batch, feature_params: PyTree, features: SurfaceFeatures
) -> tuple[jax.Array, jax.Array]:
    """Normalised surface features [B, T, C], zero on padding, and real frames per row [B]."""
    if batch.latents is None:
        x_BxTxC = features.encode(feature_params, batch.audio)
    else:
        x_BxTxC = (batch.latents - feature_params["mean"]) / feature_params["std"]
    frames_B = features.output_length(batch.samples)
    mask_BxT = jnp.arange(x_BxTxC.shape[1]) < frames_B[:, None]
    x_BxTxC = jnp.where(mask_BxT[..., None], x_BxTxC, 0.0)
    return shard_rows(jax.lax.stop_gradient(x_BxTxC)), frames_B
