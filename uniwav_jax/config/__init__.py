"""The configuration: frozen dataclasses with defaults, made once from a ConfigDict."""

from uniwav_jax.config.build import SIZES, default_config, did_you_mean, from_dict
from uniwav_jax.config.fields import (
    CheckpointConfig,
    CodecConfig,
    Config,
    DataConfig,
    DecoderConfig,
    DistillationConfig,
    EncoderConfig,
    EvaluateConfig,
    FeaturesConfig,
    FlowConfig,
    HealthConfig,
    MaskingConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)

__all__ = [
    "SIZES",
    "CheckpointConfig",
    "CodecConfig",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "DistillationConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "FeaturesConfig",
    "FlowConfig",
    "HealthConfig",
    "MaskingConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimConfig",
    "TrainConfig",
    "default_config",
    "did_you_mean",
    "from_dict",
]
