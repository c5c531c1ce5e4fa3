"""A codec's encoder and decoder as one Flax module, whatever its structure."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from uniwav_jax.codec import front_end, layers, lyra, mdct, seanet
from uniwav_jax.codec.config import (
    FrontEndConfig,
    LyraConfig,
    MdctConfig,
    SEANetConfig,
    Structure,
)


def chain(config: Structure, part: str) -> list[layers.Layer]:
    """The layers of `part`, "encoder" or "decoder"."""
    modules = {
        SEANetConfig: seanet,
        LyraConfig: lyra,
        MdctConfig: mdct,
        FrontEndConfig: front_end,
    }
    return getattr(modules[type(config)], part)(config)


class Codec(nn.Module):
    """Waveform to continuous latents and back; the quantiser is in `models.quantizer`."""

    config: Structure

    def setup(self) -> None:
        self.encoder = chain(self.config, "encoder")
        self.decoder = chain(self.config, "decoder")

    def encode(self, audio_BxS: jax.Array) -> jax.Array:
        """Latents, float32 [B, ceil(S / hop), dimension], of a waveform in [-1, 1]."""
        return layers.run(self.encoder, audio_BxS[..., None].astype(jnp.float32))

    def decode(self, z_BxTxC: jax.Array) -> jax.Array:
        """Waveform, float32 [B, T * hop], of latents."""
        return layers.run(self.decoder, z_BxTxC.astype(jnp.float32))[..., 0]

    def __call__(self, audio_BxS: jax.Array) -> jax.Array:
        """Encode and decode, for initialisation."""
        return self.decode(self.encode(audio_BxS))

    def run_part(self, x_BxTxC: jax.Array, *, part: str, first: int, last: int) -> jax.Array:
        """Apply the layers [first, last) of "encoder" or "decoder", for `chunked`."""
        return layers.run(getattr(self, part)[first:last], x_BxTxC)

    def run_memory(
        self, x_BxTxD: jax.Array, carry: layers.Carry | None, *, part: str, index: int
    ) -> tuple[jax.Array, layers.Carry]:
        """Continue the LSTM at `index` of "encoder" or "decoder" from the state `carry`."""
        return getattr(self, part)[index](x_BxTxD, carry)
