"""Surface features: waveforms to normalised feature frames and back, in jnp (paper, section 3)."""

from typing import Any

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features.codec_latents import CodecFeatures
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.features.waveform import Waveform


def check_corpora(features: SurfaceFeatures, latents: list[dict[str, Any]]) -> None:
    """Check that all corpora are extracted latents of this run's codec, or none is.

    Args:
        features: the features of the run.
        latents: `Manifest.latents` of each corpus.

    Raises:
        UserError: they are mixed, or of another codec.
    """
    if not any(latents):
        return
    if not all(latents):
        raise UserError("config.data: corpora of latents and of audio cannot be mixed")
    codec = (features.described or {}).get("digest")
    for described in latents:
        if described["codec"] != codec:
            raise UserError(
                f"config.data: latents of codec {described['codec']}, but config.features has"
                f" {f'codec {codec}' if codec else 'no codec'}; set config.features.kind=codec and"
                " config.features.codec to the folder that they were extracted with"
            )


def build(config: FeaturesConfig, codec: dict[str, Any] | None = None) -> SurfaceFeatures:
    """The surface features that `config.kind` names (checked by `config.validate`).

    Args:
        config: of the features.
        codec: `CodecFeatures.described` of a checkpoint, whose codec is then taken; None: the
            codec in the folder `config.codec`.
    """
    if config.kind == "codec":
        return CodecFeatures(config, codec)
    return {"log_mel": LogMel, "waveform": Waveform}[config.kind](config)
