"""Surface features: waveform <-> normalised feature frames, both ways, in jnp (paper, sec. 3)."""

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features.log_mel import LogMel
from uniwav_jax.features.surface import SurfaceFeatures


def build(config: FeaturesConfig) -> SurfaceFeatures:
    """The surface features that `config.kind` names (checked by `config.validate`)."""
    return {"log_mel": LogMel}[config.kind](config)
