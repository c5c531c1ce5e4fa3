"""Surface features: waveform <-> normalised feature frames, both ways, in jnp (paper, sec. 3)."""

from typing import Any

from uniwav_jax.codec import files
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features.codec_latents import CodecFeatures
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.features.waveform import Waveform


def check_corpora(config: FeaturesConfig, latents: list[dict[str, Any]]) -> None:
    """Extracted latents must be all corpora's or none's, and of this run's codec.

    Args:
        config: of the features.
        latents: `Manifest.latents` of each corpus.

    Raises:
        UserError: they are not.
    """
    if not any(latents):
        return
    if not all(latents):
        raise UserError("config.data: corpora of latents and of audio cannot be mixed")
    known = {"codec": files.digest(config.codec)} if config.kind == "codec" else {}
    for described in latents:
        if described["codec"] != known.get("codec"):
            raise UserError(
                f"config.data: latents of codec {described['codec']}, config.features is"
                f" {config.kind} {known.get('codec', '')}; set config.features.kind=codec and"
                " config.features.codec to the folder that they were extracted with"
            )


def build(config: FeaturesConfig, codec: dict[str, Any] | None = None) -> SurfaceFeatures:
    """The surface features that `config.kind` names (checked by `config.validate`).

    Args:
        config: of the features.
        codec: `files.describe` of a checkpoint's or an export's codec, which is then taken; None:
            the codec in the folder `config.codec`.
    """
    if config.kind == "codec":
        return CodecFeatures(config, codec)
    return {"log_mel": LogMel, "waveform": Waveform}[config.kind](config)
