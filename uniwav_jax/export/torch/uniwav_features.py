"""Surface features in PyTorch: waveform <-> normalised frames, log-mel or a codec's latents.

The results are those of uniwav_jax/features. A codec is a chain of layers, which config.json
describes.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .uniwav_mdct import Analysis, Synthesis

FLOOR = 1e-3  # smallest mel magnitude
GRIFFIN_LIM_STEPS = 48
MOMENTUM = 0.99  # fast Griffin-Lim (Perraudin et al., 2013)
LOUDEST = 32.0  # beyond it floats are integers that were not scaled
SINGULAR = 0.05  # smaller singular values of the filters, relative to the largest, count as zero


def check_audio(audio_BxS: torch.Tensor) -> None:
    """Refuse what is no batch of waveforms; while PyTorch compiles or exports, nothing is checked.

    Raises:
        ValueError: another shape, channels in place of samples, NaN, or values beyond [-1, 1].
    """
    if torch.compiler.is_compiling():
        return
    shape = tuple(audio_BxS.shape)
    if len(shape) != 2 or 0 in shape or shape[0] > shape[1]:
        raise ValueError(
            "waveforms are [rows, samples] with at least one sample, their channels averaged; got"
            f" {shape}"
        )
    if audio_BxS.is_floating_point():
        loudest = float(audio_BxS.abs().max())
        if not math.isfinite(loudest):
            raise ValueError("the audio has NaN or infinite samples")
        if loudest > LOUDEST:
            raise ValueError("the audio is not scaled to [-1, 1]: divide int16 samples by 32768")


def build(c: dict[str, Any]) -> nn.Module:
    """Create the features that `c["kind"]` names, with uninitialised weights."""
    return {"log_mel": LogMel, "codec": Codec}[c["kind"]](c)


class Float32(nn.Module):
    """A module whose arrays stay in float32 when the model's dtype changes."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Float32":
        def in_float32(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            kept = moved.dtype in (tensor.dtype, torch.float32)
            return moved if kept else tensor.to(moved.device)

        return super()._apply(in_float32, recurse)


class Features(Float32):
    """Base of both kinds: frame rate, and normalisation per channel.

    The weights stay in float32 when the model that contains them is converted, as by `half()`.

    Attributes:
        sample_rate: Hz.
        hop: samples per frame.
        context: numbers of samples that `raw` reads before and after the audio whose frames it
            computes.
    """

    context = (0, 0)

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.sample_rate, self.hop, channels = c["sample_rate"], c["hop"], c["channels"]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def encode(self, audio_BxS: torch.Tensor, *, surrounded: bool = False) -> torch.Tensor:
        """Normalised frames, float32 [B, ceil(S / hop), C], of a waveform, int16 or in [-1, 1].

        If `surrounded`, `audio_BxS` includes `context` more samples; else silence surrounds it.
        They are computed in float32 also where autocast makes the networks faster.
        """
        if torch.is_autocast_enabled(audio_BxS.device.type):
            with torch.autocast(audio_BxS.device.type, enabled=False):
                return self.encode(audio_BxS, surrounded=surrounded)
        if audio_BxS.dtype == torch.int16:
            audio_BxS = audio_BxS / 32768
        if not audio_BxS.is_floating_point():
            raise TypeError(f"a waveform is int16, or float in [-1, 1]; got {audio_BxS.dtype}")
        audio_BxS = audio_BxS.float() if surrounded else F.pad(audio_BxS.float(), self.context)
        return (self.raw(audio_BxS) - self.mean.float()) / self.std.float()

    def restore(self, x_BxTxC: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation of frames, float32 [B, T, C]."""
        return x_BxTxC.float() * self.std.float() + self.mean.float()


class LogMel(Features):
    """Log-mel spectrogram; frame i is centred at (i + 1/2) hop."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__(c)
        self.window = c["window"]
        self.register_buffer("filters", torch.zeros(c["window"] // 2 + 1, c["channels"]))

    def raw(self, audio_BxS: torch.Tensor) -> torch.Tensor:
        """Natural logarithm of mel magnitudes, float32 [B, T, C]."""
        mel = self._transform(audio_BxS).abs() @ self.filters.float()
        return mel.clamp(min=FLOOR).log()

    def decode(self, x_BxTxC: torch.Tensor) -> torch.Tensor:
        """Waveform, float32 [B, T * hop] in [-1, 1], by Griffin-Lim from random phases."""
        inverse = torch.linalg.pinv(self.filters.float(), rtol=SINGULAR)
        magnitude = (self.restore(x_BxTxC).exp() @ inverse).clamp(min=0.0)
        samples = x_BxTxC.shape[1] * self.hop
        noise = torch.Generator("cpu").manual_seed(0)
        angle = 2 * torch.pi * torch.rand(magnitude.shape, generator=noise).to(magnitude.device)
        phases, before = torch.polar(torch.ones_like(angle), angle), 0.0
        for _ in range(GRIFFIN_LIM_STEPS):
            now = self._transform(self._inverse(magnitude * phases, samples))
            moved = now + MOMENTUM * (now - before)
            phases, before = moved / moved.abs().clamp(min=1e-8), now
        return self._inverse(magnitude * phases, samples).clamp(-1.0, 1.0)

    def _hann(self) -> torch.Tensor:
        return torch.hann_window(self.window, dtype=torch.float64).float().to(self.mean.device)

    def _transform(self, audio_BxS: torch.Tensor) -> torch.Tensor:
        """Short-time Fourier transform, complex64 [B, T, window / 2 + 1]."""
        frames = -(-audio_BxS.shape[1] // self.hop)
        left = (self.window - self.hop) // 2
        right = (frames - 1) * self.hop + self.window - left - audio_BxS.shape[1]
        padded = F.pad(audio_BxS, (left, right))
        return torch.fft.rfft(padded.unfold(1, self.window, self.hop) * self._hann())

    def _inverse(self, spectrum_BxTxF: torch.Tensor, samples: int) -> torch.Tensor:
        """Least-squares waveform [B, samples] of a short-time spectrum."""
        frames, hann = spectrum_BxTxF.shape[1], self._hann()
        total, left = (frames - 1) * self.hop + self.window, (self.window - self.hop) // 2

        def overlap_add(pieces_BxTxW: torch.Tensor) -> torch.Tensor:
            columns = pieces_BxTxW.transpose(1, 2)
            return F.fold(columns, (1, total), (1, self.window), stride=(1, self.hop))[:, 0, 0]

        wave = overlap_add(torch.fft.irfft(spectrum_BxTxF, self.window) * hann)
        weight = overlap_add(hann.square().expand(1, frames, -1)).clamp(min=1e-4)
        return (wave / weight)[:, left : left + samples]


class Codec(Features):
    """Continuous latents of a neural codec, and its decoder; silence surrounds each clip."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__(c)
        self.context = tuple(c["context"])
        self.codec = nn.ModuleDict(
            {
                "encoder": Chain(c["encoder"], 1),
                "decoder": Chain(c["decoder"], c["channels"]),
            }
        )

    def raw(self, audio_BxS: torch.Tensor) -> torch.Tensor:
        """Latents before normalisation, float32 [B, T, C], of audio with its context."""
        frames = -(-(audio_BxS.shape[1] - sum(self.context)) // self.hop)
        z_BxTxC = self.codec["encoder"](audio_BxS[:, None]).transpose(1, 2)
        first = self.context[0] // self.hop
        return z_BxTxC[:, first : first + frames]

    def decode(self, x_BxTxC: torch.Tensor) -> torch.Tensor:
        """Waveform, float32 [B, T * hop] in [-1, 1], by the codec's decoder."""
        z_BxCxT = self.restore(x_BxTxC).transpose(1, 2)
        return self.codec["decoder"](z_BxCxT)[:, 0].clamp(-1.0, 1.0)


class Chain(nn.ModuleList):
    """A chain of layers, [B, C, T] -> [B, C', T'], numbered as in the description."""

    def __init__(self, described: list[dict[str, Any]], width: int) -> None:
        super().__init__()
        for layer in described:
            self.append(LAYERS[layer["kind"]](layer, width))
            width = layer.get("features", width)

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x_BxCxT = layer(x_BxCxT)
        return x_BxCxT


class Convolution(nn.Conv1d):
    """Convolution whose result has ceil(T / stride) steps."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        names = ("stride", "dilation", "groups")
        super().__init__(width, c["features"], c["kernel"], **{name: c[name] for name in names})
        self.around, self.mode = tuple(c["padding"]), c["mode"]

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        left, right = self.around
        right += -x_BxCxT.shape[-1] % self.stride[0]
        return super().forward(pad(x_BxCxT, left, right, self.mode))


def pad(x_BxCxT: torch.Tensor, left: int, right: int, mode: str) -> torch.Tensor:
    """Pad the time axis with zeros ("constant") or by reflection; [B, C, left + T + right].

    Input that is too short for reflection is first extended with zeros, which are cut off again.
    """
    short = max(left, right) - x_BxCxT.shape[-1] + 1
    if mode == "constant" or short <= 0:
        return F.pad(x_BxCxT, (left, right), mode=mode)
    return F.pad(F.pad(x_BxCxT, (0, short)), (left, right), mode=mode)[..., :-short]


class Upsampling(nn.ConvTranspose1d):
    """Transposed convolution: `stride` output steps per input step."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__(width, c["features"], c["kernel"], c["stride"], groups=c["groups"])
        self.trimmed = tuple(c["trimmed"])

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        y = super().forward(x_BxCxT)
        left, right = self.trimmed
        return y[..., left : y.shape[-1] - right]


class Lstm(nn.LSTM):
    """Stacked LSTM over time with a skip connection."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__(width, width, c["layers"], batch_first=True)

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        h, _ = super().forward(x_BxCxT.transpose(1, 2))
        return x_BxCxT + h.transpose(1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each step."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        del c
        super().__init__(width)

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        return super().forward(x_BxCxT.transpose(1, 2)).transpose(1, 2)


class Unit(nn.Module):
    """Residual unit: block(x) plus x or shortcut(x)."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__()
        self.block = Chain(c["block"], width)
        self.shortcut = Convolution(c["shortcut"], width) if c["shortcut"] else nn.Identity()

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x_BxCxT) + self.block(x_BxCxT)


class SkipLatents(nn.Module):
    """Adds the output of an MDCT codec's network to the skip latents before its input."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__()
        self.skipped = c["features"]
        self.block = Chain(c["block"], width - self.skipped)

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        return x_BxCxT[:, : self.skipped] + self.block(x_BxCxT[:, self.skipped :])


class Corrections(nn.Module):
    """Puts the output of an MDCT codec's network after its input."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__()
        self.block = Chain(c["block"], width)

    def forward(self, x_BxCxT: torch.Tensor) -> torch.Tensor:
        return torch.cat([x_BxCxT, self.block(x_BxCxT)], 1)


LAYERS = {
    "convolution": Convolution,
    "upsampling": Upsampling,
    "lstm": Lstm,
    "unit": Unit,
    "channel_norm": ChannelNorm,
    "mdct_analysis": Analysis,
    "skip_latents": SkipLatents,
    "corrections": Corrections,
    "mdct_synthesis": Synthesis,
    "gelu": lambda c, width: nn.GELU(),
    "gelu_tanh": lambda c, width: nn.GELU("tanh"),
    "elu": lambda c, width: nn.ELU(),
    "leaky_relu": lambda c, width: nn.LeakyReLU(c["slope"]),
}
