"""Durations of phones, from the phones and from the durations of a prompt.

    phones [B, U] -> embeddings, with the logarithm of visible durations -> Transformer -> Linear
        -> log(1 + frames) [B, U]

The prompt's phones are visible with their durations, so that the rhythm of the rest fits (the
masked scheme of Voicebox, arXiv 2306.15687, section 3.3). The network is the package's encoder,
small.
"""

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config, EncoderConfig
from uniwav_jax.models import phone_input
from uniwav_jax.models.encoder import Encoder
from uniwav_jax.types import PyTree


def structure(config: Config) -> EncoderConfig:
    """The Transformer that `config.tts` describes."""
    tts = config.tts
    return EncoderConfig(
        layers=tts.duration_layers,
        width=tts.duration_width,
        heads=max(1, tts.duration_width // 64),
        ffn=4 * tts.duration_width,
        dropout=tts.duration_dropout,
        attention_dropout=0.0,
        layer_drop=0.0,
        position_convolutions=2,
        position_kernel=5,
        position_groups=8,
    )


def module(config: Config) -> Encoder:
    """The Transformer of `structure`, in float32."""
    return Encoder(structure(config), jnp.dtype("float32"), "none", "xla")


def init(key: jax.Array, config: Config) -> PyTree:
    """{"tables": of `phone_input`, "encoder", "out": {"kernel" [W, 1], "bias" [1]}}."""
    tables_key, encoder_key = jax.random.split(key)
    width = config.tts.duration_width
    x, mask = jnp.zeros((1, 8, width + 2)), jnp.ones((1, 8), bool)
    return {
        "tables": phone_input.init(tables_key, phones=len(config.tts.phones), width=width),
        "encoder": module(config).init(encoder_key, x, mask)["params"],
        "out": {
            "kernel": jnp.zeros((width, 1)),
            "bias": jnp.full(1, jnp.log(5.0)),  # about 80 ms
        },
    }


def predict(
    params: PyTree,
    phones_BxU: jax.Array,
    frames_BxU: jax.Array,
    visible_BxU: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> jax.Array:
    """log(1 + frames) of each phone, float32 [B, U].

    Args:
        params: the result of `init`.
        phones_BxU: numbers of symbols, int32; -1 on padding.
        frames_BxU: the durations, int32, which are read only where they are visible.
        visible_BxU: bool, True where the model sees the duration.
        key: dropout key; None for evaluation.
        config: the configuration.
    """
    visible = visible_BxU.astype(jnp.float32)
    seen = jnp.log1p(jnp.maximum(frames_BxU, 0).astype(jnp.float32)) * visible
    embedded = phone_input.embed(params["tables"], phones_BxU)
    x = jnp.concatenate([embedded, seen[..., None], visible[..., None]], axis=-1)
    encoded = module(config).apply({"params": params["encoder"]}, x, phones_BxU >= 0, key=key)
    out = params["out"]
    return (encoded.final @ out["kernel"] + out["bias"])[..., 0]
