"""Converts waveforms to surface features and back, in JAX (paper, section 3)."""

from typing import Any

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features.codec_latents import CodecFeatures
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.features.waveform import Waveform


def check_corpora(features: SurfaceFeatures, latents: list[dict[str, Any]]) -> None:
    """Check that no corpus has extracted latents, or that all have latents of this run's codec.

    Args:
        features: the features of the run.
        latents: `Manifest.latents` of each corpus.

    Raises:
        UserError: some corpora are audio and some latents, or the latents are of another codec.
    """
    if not any(latents):
        return
    if not all(latents):
        raise UserError("config.data: corpora of latents and of audio cannot be mixed")
    codec = (features.described or {}).get("digest")
    for described in latents:
        if described["codec"] != codec:
            raise UserError(
                f"config.data has latents of codec {described['codec']}, but config.features has"
                f" {f'codec {codec}' if codec else 'no codec'}; set config.features.kind=codec and"
                " config.features.codec to the codec folder that they were extracted with"
            )


def build(config: FeaturesConfig, codec: dict[str, Any] | None = None) -> SurfaceFeatures:
    """Create the surface features that `config.kind` names (checked by `config.validate`).

    Args:
        config: configuration of the features.
        codec: `CodecFeatures.described` from a checkpoint, to use the checkpoint's codec; None:
            use the codec in the folder `config.codec`.

    Raises:
        UserError: the folder has no codec, or its rates are not those of `config`.
    """
    if config.kind == "codec":
        return CodecFeatures(config, codec)
    return {"log_mel": LogMel, "waveform": Waveform}[config.kind](config)
