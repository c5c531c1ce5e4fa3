"""Computes the surface features of a batch, for all losses and models."""

import jax
import jax.numpy as jnp

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features import mfcc
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.parallel.mesh import shard_rows
from uniwav_jax.types import Batch, PyTree

MFCC_WINDOW = 0.032  # seconds


def surface(
    batch: Batch, feature_params: PyTree, features: SurfaceFeatures
) -> tuple[jax.Array, jax.Array]:
    """Compute features from the audio of a batch, or normalise its latents.

    Args:
        batch: audio or latents, sharded by rows.
        feature_params: the features' parameters, with "mean" and "std" [C].
        features: the kind of features.

    Returns:
        Normalised surface features, float32 [B, T, C] and zero on padding, without gradient; and
        the number of real frames per row, int32 [B].
    """
    if batch.latents is None:
        with jax.named_scope("surface_features"):  # reports of compiled steps name this part
            x_BxTxC = features.encode(feature_params, batch.audio)
    else:
        x_BxTxC = (batch.latents - feature_params["mean"]) / feature_params["std"]
    frames_B = features.output_length(batch.samples)
    mask_BxT = jnp.arange(x_BxTxC.shape[1]) < frames_B[:, None]
    x_BxTxC = jnp.where(mask_BxT[..., None], x_BxTxC, 0.0)
    return shard_rows(jax.lax.stop_gradient(x_BxTxC)), frames_B


def batch_mfcc(
    batch: Batch, x_BxTxC: jax.Array, feature_params: PyTree, features: SurfaceFeatures
) -> jax.Array:
    """39 MFCCs of a batch (features/mfcc.py), one frame for each surface frame.

    Args:
        batch: audio, or latents, which are decoded first.
        x_BxTxC: its surface features.
        feature_params: the features' parameters.
        features: the kind of features.

    Returns:
        float32 [B, T, 39], without gradient; they are not normalised.
    """
    rate = features.sample_rate
    log_mel = LogMel(
        FeaturesConfig(
            sample_rate=rate,
            hop=features.hop,
            window=2 * round(MFCC_WINDOW * rate / 2),
            mel_high=min(8000.0, rate / 2),
        )
    )
    if batch.audio is None:
        audio_BxS = features.decode(feature_params, x_BxTxC)
    else:
        left, right = features.context
        audio_BxS = batch.audio[:, left : batch.audio.shape[1] - right]
    found = mfcc.mfcc(log_mel.raw({}, audio_BxS), features.output_length(batch.samples))
    return shard_rows(jax.lax.stop_gradient(found))
