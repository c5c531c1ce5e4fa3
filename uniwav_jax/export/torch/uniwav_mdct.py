"""The two ends of an MDCT codec in PyTorch, as in uniwav_jax/codec/mdct.py."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Transform(nn.Module):
    """Constants that both ends need; they are computed here, so an export does not hold them."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        del width
        super().__init__()
        self.c, hop, count = c, c["hop"], len(c["edges"]) - 1
        # The model is created on the meta device and its weights assigned; constants are not. They
        # are no buffers, because transformers 5 loads buffers that are not saved as uninitialised
        # memory (findings/transformers_buffers.sh).
        exact = {"dtype": torch.float64, "device": "cpu"}
        sample = torch.arange(2 * hop, **exact)
        window = torch.sin(torch.pi * (sample + 0.5) / (2 * hop))
        index = torch.arange(hop, **exact) + 0.5
        angle = torch.pi / hop * (sample[:, None] + 0.5 + hop / 2) * index
        both = torch.cat([angle.cos(), angle.sin()], 1) * (2.0 / hop) ** 0.5
        band = torch.arange(count, **exact)
        cosine = (torch.pi / count * torch.outer(band + 0.5, band)).cos() * (2.0 / count) ** 0.5
        cosine[:, 0] /= 2.0**0.5
        edges = torch.tensor(c["edges"], **exact)
        centres, place = (edges[:-1] + edges[1:] - 1) / 2, torch.arange(hop, **exact)
        inside = (place >= edges[:-1, None]) & (place < edges[1:, None])
        # Linear interpolation between the centres, and constant values beyond the outer ones.
        right = torch.searchsorted(centres, place, right=True).clamp(1, count - 1)
        share = (place - centres[right - 1]) / (centres[right] - centres[right - 1])
        share = share.clamp(0.0, 1.0)
        spread = F.one_hot(right - 1, count).mT * (1 - share) + F.one_hot(right, count).mT * share
        self.constants = {
            "window": window.float(),
            "basis": (both * window[:, None]).float(),
            "average": (inside / (edges[1:] - edges[:-1])[:, None]).T.float(),
            "spread": spread.float(),
            "cosine": cosine.float(),
        }

    def constant(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A constant, float32, on the device of `like`."""
        value = self.constants[name]
        if value.device != like.device:
            value = self.constants[name] = value.to(like.device)
        return value


class Analysis(Transform):
    """Skip latents and the input of the encoder's network, of a waveform."""

    def forward(self, audio_Bx1xS: torch.Tensor) -> torch.Tensor:
        """[B, 1, S] -> [B, C + 3 hop, ceil(S / hop)]."""
        c, hop = self.c, self.c["hop"]
        fill = hop // 2 + -audio_Bx1xS.shape[-1] % hop
        halves = F.pad(audio_Bx1xS[:, 0], (hop // 2, fill)).unflatten(1, (-1, hop))
        basis, average, spread, cosine = (
            self.constant(name, halves) for name in ("basis", "average", "spread", "cosine")
        )
        both = torch.cat([halves[:, :-1], halves[:, 1:]], -1) @ basis
        real, imaginary = both[..., :hop], both[..., hop:]
        energy = 0.5 * (real.square() + imaginary.square()) + c["floor"]
        gains = 0.5 * (energy @ average).log()
        scale = c["companding"] * torch.exp(-gains @ spread)
        parts = [real[..., : c["shape"]], imaginary[..., : c["second"]]]
        scales = [scale[..., : part.shape[-1]] for part in parts]
        fine = [torch.asinh(p * each) for p, each in zip(parts, scales, strict=True)]
        cepstrum = ((gains - c["level"]) / c["deviation"]) @ cosine
        free = gains.new_zeros((*gains.shape[:2], c["free"]))
        root = (2.0 * energy).sqrt().rsqrt()
        inputs = [0.5 * energy.log() - c["level"], 2.0 * real * root, 2.0 * imaginary * root]
        return torch.cat([*fine, cepstrum, free, *inputs], -1).transpose(1, 2)


class Synthesis(Transform):
    """Waveform of latents and corrections: gains times shape, and the inverse MDCT."""

    def forward(self, x_BxDxT: torch.Tensor) -> torch.Tensor:
        """[B, C + corrections, T] -> [B, 1, T hop]."""
        c, hop, second = self.c, self.c["hop"], self.c["second"]
        count = len(c["edges"]) - 1
        window, basis, spread, cosine = (
            self.constant(name, x_BxDxT) for name in ("window", "basis", "spread", "cosine")
        )
        widths = [c["shape"], second, count, c["free"], hop, second, count]
        real, imaginary, cepstrum, _, add, add_second, change = x_BxDxT.mT.split(widths, -1)
        gains = (cepstrum @ cosine.T + change) * c["deviation"] + c["level"]
        scale = (gains.clamp(max=c["loudest"]) @ spread).exp() / c["companding"]
        first = add + F.pad(real, (0, hop - c["shape"]))
        companded = torch.cat([first, imaginary + add_second], -1)
        bounded = companded.clamp(-c["largest"], c["largest"])
        coefficients = bounded.sinh() * torch.cat([scale, scale[..., :second]], -1)
        pieces = (coefficients * self._weights(window)) @ basis[:, : hop + second].T
        parts = F.pad(pieces[..., :hop], (0, 0, 0, 1)) + F.pad(pieces[..., hop:], (0, 0, 1, 0))
        # The first and the last half hop have no second window.
        square = window.square()
        middle = square.new_ones((parts.shape[1] - 2, hop))
        weight = torch.cat([square[None, :hop], middle, square[None, hop:]])
        wave = (parts / weight).flatten(1)
        return wave[:, None, hop // 2 : -(hop // 2)]

    def _weights(self, window: torch.Tensor) -> torch.Tensor:
        """Weights of MDCT and MDST coefficients in the mean of both waveforms, [hop + second]."""
        hop, second = self.c["hop"], self.c["second"]
        share = torch.full_like(window[:second], 0.5)
        if second < hop:
            taper = min(self.c["taper"], second)
            place = torch.arange(taper, device=share.device) + 0.5
            if taper:
                share[second - taper :] *= 0.5 + 0.5 * (torch.pi * place / taper).cos()
        return torch.cat([1.0 - share, torch.ones_like(window[: hop - second]), share])
