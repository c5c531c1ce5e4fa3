"""Encoder and decoder in PyTorch, with the results of uniwav_jax/models in evaluation mode.

Letters in names are axes, as in uniwav_jax: B rows, T frames, C feature channels, D width, H heads,
d width of a head. `frame_mask_BxT` is bool, True on real frames.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Encoded(NamedTuple):
    """The encoder's output, in the dtype of its weights.

    Attributes:
        embedding: [B, T, D], input of the first layer (h_0).
        states: [L, B, T, D], residual stream after each layer (h_1 .. h_L).
        feed_forward: [L, B, T, D], each layer's feed-forward output before the residual sum.
        final: [B, T, D], the last state, after the final LayerNorm if the layers are pre-norm.
    """

    embedding: torch.Tensor
    states: torch.Tensor
    feed_forward: torch.Tensor
    final: torch.Tensor


def plain_layer_norm(x: torch.Tensor) -> torch.Tensor:
    """LayerNorm over the last axis without affine, in float32."""
    return F.layer_norm(x.float(), x.shape[-1:])


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm over the last axis without affine, in float32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def rotate(x_BxHxTxd: torch.Tensor) -> torch.Tensor:
    """Apply rotary positions (RoFormer) to the whole width of each head, angles in float32."""
    frames, width = x_BxHxTxd.shape[2:]
    steps = torch.arange(width // 2, device=x_BxHxTxd.device, dtype=torch.float32)
    frequency = 10000.0 ** (-steps / (width // 2))
    angle = torch.arange(frames, device=x_BxHxTxd.device)[:, None] * frequency.repeat(2)
    first, second = x_BxHxTxd.chunk(2, dim=-1)
    swapped = torch.cat([-second, first], dim=-1)
    return (x_BxHxTxd * angle.cos() + swapped * angle.sin()).to(x_BxHxTxd.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention with fused query, key and value projections."""

    def __init__(self, width: int, heads: int, positions: str) -> None:
        super().__init__()
        if width % heads or positions not in ("none", "rotary", "alibi"):
            raise ValueError(f"no attention of {heads} heads, width {width}, {positions} positions")
        self.heads, self.positions = heads, positions
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BxTxD: torch.Tensor, frame_mask_BxT: torch.Tensor) -> torch.Tensor:
        rows, frames, width = x_BxTxD.shape
        projected = self.qkv(x_BxTxD).view(rows, frames, 3, self.heads, width // self.heads)
        q, k, v = projected.permute(2, 0, 3, 1, 4).unbind(0)
        # A row without real frames attends to all its padding, so that the result is not NaN.
        seen = (frame_mask_BxT | ~frame_mask_BxT.any(1, keepdim=True))[:, None, None]
        if self.positions == "rotary":
            q, k = rotate(q), rotate(k)
        elif self.positions == "alibi":
            place = torch.arange(frames, device=x_BxTxD.device, dtype=torch.float32)
            number = torch.arange(1, self.heads + 1, device=x_BxTxD.device, dtype=torch.float32)
            slopes = (2.0 ** (-8.0 * number / self.heads))[:, None, None]
            bias = -slopes * (place[:, None] - place).abs()
            seen = bias.masked_fill(~seen, float("-inf")).to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(attended.transpose(1, 2).reshape(rows, frames, width))


class EncoderLayer(nn.Module):
    """One Transformer layer, pre- or post-norm."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.norm = c["norm"]
        self.norm_attention = nn.LayerNorm(c["width"])
        self.norm_feed_forward = nn.LayerNorm(c["width"])
        self.attention = SelfAttention(c["width"], c["heads"], "none")
        self.up = nn.Linear(c["width"], c["ffn"])
        self.down = nn.Linear(c["ffn"], c["width"])

    def forward(
        self, x_BxTxD: torch.Tensor, frame_mask_BxT: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The state after the layer and the feed-forward output, both [B, T, D]."""
        if self.norm == "pre":
            h = x_BxTxD + self.attention(self.norm_attention(x_BxTxD), frame_mask_BxT)
            fed = self.down(F.gelu(self.up(self.norm_feed_forward(h))))
            return h + fed, fed
        h = self.norm_attention(x_BxTxD + self.attention(x_BxTxD, frame_mask_BxT))
        fed = self.down(F.gelu(self.up(h)))
        return self.norm_feed_forward(h + fed), fed


class Encoder(nn.Module):
    """Surface features to contextual states.

    LayerNorm -> Linear -> + convolutional positions -> L layers -> [final norm, pre-norm only]
    """

    def __init__(self, c: dict[str, Any], channels: int) -> None:
        super().__init__()
        if c["norm"] not in ("pre", "post"):
            raise ValueError(f"norm is pre or post, not {c['norm']}")
        width, self.post = c["width"], c["norm"] == "post"
        self.mask_vector = nn.Parameter(torch.zeros(width))
        self.norm_input = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width)
        self.positions = nn.ModuleList(
            nn.Conv1d(
                width,
                width,
                c["position_kernel"],
                padding=c["position_kernel"] // 2,
                groups=c["position_groups"],
            )
            for _ in range(c["position_convolutions"])
        )
        if self.post:
            self.norm_embedding = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(c) for _ in range(c["layers"]))
        if not self.post:
            self.norm_final = nn.LayerNorm(width)

    def forward(
        self,
        x_BxTxC: torch.Tensor,
        frame_mask_BxT: torch.Tensor,
        span_mask_BxT: torch.Tensor | None = None,
        added_BxTxD: torch.Tensor | None = None,
    ) -> Encoded:
        """Encode normalised features; the mask vector replaces frames marked by `span_mask_BxT`.

        Embeddings of phones, `added_BxTxD`, are added to the projected input.
        """
        h = self.project(self.norm_input(x_BxTxC.to(self.project.weight.dtype)))
        if span_mask_BxT is not None:
            h = torch.where(span_mask_BxT[..., None], self.mask_vector, h)
        if added_BxTxD is not None:
            h = h + added_BxTxD.to(h.dtype)
        h = h + self._positions(h, frame_mask_BxT)
        if self.post:
            h = self.norm_embedding(h)
        embedding, states, feed_forward = h, [], []
        for layer in self.layers:
            h, fed = layer(h, frame_mask_BxT)
            states.append(h)
            feed_forward.append(fed)
        final = h if self.post else self.norm_final(h)
        return Encoded(embedding, torch.stack(states), torch.stack(feed_forward), final)

    def _positions(self, h_BxTxD: torch.Tensor, frame_mask_BxT: torch.Tensor) -> torch.Tensor:
        """Grouped convolutions, each followed by LayerNorm (no affine) and GELU.

        Padding is set to zero before each convolution, so that it does not affect real frames.
        """
        h = h_BxTxD
        for convolution in self.positions:
            h = h * frame_mask_BxT[..., None]
            h = plain_layer_norm(convolution(h.transpose(1, 2)).transpose(1, 2))
            h = F.gelu(h).to(h_BxTxD.dtype)
        return h


class DecoderLayer(nn.Module):
    """Transformer layer whose norms are scaled and shifted by the flow time.

    In the second half of the U-Net the state is first merged with a skip input.
    """

    def __init__(self, c: dict[str, Any], *, merges: bool) -> None:
        super().__init__()
        width = c["width"]
        if merges:
            self.merge = nn.Linear(2 * width, width)
        self.modulation = nn.Linear(width, 4 * width)
        self.attention = SelfAttention(width, c["heads"], c["positions"])
        self.up = nn.Linear(width, 2 * c["ffn"])
        self.down = nn.Linear(c["ffn"], width)

    def forward(
        self,
        x_BxTxD: torch.Tensor,
        skip_BxTxD: torch.Tensor | None,
        time_BxD: torch.Tensor,
        frame_mask_BxT: torch.Tensor,
    ) -> torch.Tensor:
        dtype = self.up.weight.dtype
        if skip_BxTxD is not None:
            x_BxTxD = self.merge(torch.cat([x_BxTxD, skip_BxTxD * 2.0**-0.5], dim=-1))
        scale, shift, scale_fed, shift_fed = self.modulation(time_BxD)[:, None].chunk(4, dim=-1)
        h = rms_norm(x_BxTxD) * (1 + scale) + shift
        x_BxTxD = x_BxTxD + self.attention(h.to(dtype), frame_mask_BxT)
        h = rms_norm(x_BxTxD) * (1 + scale_fed) + shift_fed
        gate, value = self.up(h.to(dtype)).chunk(2, dim=-1)
        return x_BxTxD + self.down(F.gelu(gate) * value)


class Decoder(nn.Module):
    """Velocity field v(x_t, t, z) of Flow Matching (paper, section 2.3)."""

    def __init__(self, c: dict[str, Any], channels: int, *, context: bool) -> None:
        super().__init__()
        width, self.half = c["width"], c["layers"] // 2
        self.project = nn.Linear(channels * (2 if context else 1) + width, width)
        kernel = c["position_kernel"]
        self.position = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.time_in = nn.Linear(width, width)
        self.time_out = nn.Linear(width, width)
        self.layers = nn.ModuleList(
            DecoderLayer(c, merges=i >= self.half) for i in range(2 * self.half)
        )
        self.norm_scale = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, channels)

    def forward(
        self,
        x_BxTxC: torch.Tensor,
        t_B: torch.Tensor,
        z_BxTxD: torch.Tensor,
        frame_mask_BxT: torch.Tensor,
        context_BxTxC: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Velocity at flow time t in [0, 1], float32 [B, T, C]."""
        dtype = self.project.weight.dtype
        parts = [x_BxTxC, z_BxTxD] if context_BxTxC is None else [x_BxTxC, z_BxTxD, context_BxTxC]
        h = self.project(torch.cat([part.to(dtype) for part in parts], dim=-1))
        h = h * frame_mask_BxT[..., None]
        h = h + F.gelu(self.position(h.transpose(1, 2)).transpose(1, 2))
        time = self.time_in(time_embedding(t_B, h.shape[-1]).to(dtype))
        time = F.silu(self.time_out(F.silu(time)))
        skips: list[torch.Tensor] = []
        for i, layer in enumerate(self.layers):
            # Layer L + 1 - i (from 1) merges the input of layer i.
            if i < self.half:
                skips.append(h)
            h = layer(h, None if i < self.half else skips.pop(), time, frame_mask_BxT)
        return self.out((rms_norm(h) * self.norm_scale).to(dtype)).float()


def time_embedding(t_B: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoids of the flow time, float32 [B, width]; t in [0, 1] is scaled by 1000."""
    half = width // 2
    steps = torch.arange(half, device=t_B.device, dtype=torch.float32)
    angle = 1000.0 * t_B[:, None].float() * torch.exp(-math.log(10000.0) * steps / half)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
