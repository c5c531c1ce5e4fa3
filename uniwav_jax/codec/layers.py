"""The layers that codecs are built from; parameters and most arrays are float32.

A codec's encoder and decoder are chains of layers. Each maps [B, T, C] to [B, ceil(T / stride), C']
or, if it upsamples, to [B, T * stride, C'].
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Carry = tuple[jax.Array, jax.Array]  # state of an LSTM: hidden and cell, each [layers, B, D]


def pad(x_BxTxC: jax.Array, left: int, right: int, mode: str) -> jax.Array:
    """Pad the time axis with zeros ("constant") or by reflection; [B, left + T + right, C].

    Input that is too short for reflection is first extended with zeros, which are cut off again.
    """
    short = max(left, right) - x_BxTxC.shape[1] + 1
    if mode == "constant" or short <= 0:
        return jnp.pad(x_BxTxC, ((0, 0), (left, right), (0, 0)), mode=mode)
    longer = jnp.pad(x_BxTxC, ((0, 0), (0, short), (0, 0)))
    return jnp.pad(longer, ((0, 0), (left, right), (0, 0)), mode=mode)[:, :-short]


class Convolution(nn.Module):
    """Convolution over time whose result has ceil(T / stride) steps."""

    features: int  # output channels
    kernel: int  # steps
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    causal: bool = False  # output step i reads inputs before step (i + 1) * stride only
    ahead: bool = False  # output step i reads inputs from step i * stride on
    mode: str = "constant"  # as for `pad`
    # Scale of the initial kernel, for all output channels or for each.
    gain: float | tuple[float, ...] = 1.0

    @property
    def padding(self) -> tuple[int, int]:
        """Steps of padding before and after the input."""
        total = (self.kernel - 1) * self.dilation + 1 - self.stride
        if self.ahead:
            return 0, total
        right = 0 if self.causal else total // 2
        return total - right, right

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, ceil(T / stride), features], in the dtype of the input."""
        shape = (self.kernel, x_BxTxC.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self._scaled, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        left, right = self.padding
        x_BxTxC = pad(x_BxTxC, left, right + -x_BxTxC.shape[1] % self.stride, self.mode)
        return self._slide(x_BxTxC, kernel.astype(x_BxTxC.dtype)) + bias.astype(x_BxTxC.dtype)

    def _scaled(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """A new kernel, float32 of `shape`."""
        return nn.initializers.lecun_normal()(key, shape) * jnp.asarray(self.gain)

    def _slide(self, x_BxTxC: jax.Array, kernel: jax.Array) -> jax.Array:
        """The convolution without padding; [B, T, C] -> [B, T', features].

        Grouped convolutions are computed as sums over the kernel's taps, because XLA's CPU backend
        runs them on one thread and at a tenth of its matmul speed.
        """
        if self.groups == 1:
            return jax.lax.conv_general_dilated(
                x_BxTxC,
                kernel,
                window_strides=(self.stride,),
                padding="VALID",
                rhs_dilation=(self.dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
                precision="highest",
            )
        rows, steps, width = x_BxTxC.shape
        reach = (steps - (self.kernel - 1) * self.dilation - 1) // self.stride * self.stride + 1
        taps = [
            x_BxTxC[:, first : first + reach : self.stride]
            for first in range(0, self.kernel * self.dilation, self.dilation)
        ]
        if self.groups == width == self.features:
            return sum(tap * kernel[k, 0] for k, tap in enumerate(taps))
        parts = kernel.reshape(self.kernel, width // self.groups, self.groups, -1)
        grouped = [tap.reshape(rows, -1, self.groups, width // self.groups) for tap in taps]
        y = sum(
            jnp.einsum("btgi,igo->btgo", tap, part, precision="highest")
            for tap, part in zip(grouped, parts, strict=True)
        )
        return y.reshape(rows, -1, self.features)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each step."""

    padding = (0, 0)  # as in `Convolution`

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C], in the dtype of the input."""
        scale = self.param("scale", nn.initializers.ones, (x_BxTxC.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x_BxTxC.shape[-1],))
        x = x_BxTxC.astype(jnp.float32)
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + 1e-5) * scale + bias
        return normal.astype(x_BxTxC.dtype)


class Upsampling(nn.Module):
    """Transposed convolution with stride r and a kernel of m r: r output steps per input step."""

    features: int  # output channels
    stride: int  # r
    kernel: int  # m r steps
    groups: int = 1
    causal: bool = False
    trim_right: float = 1.0  # share of a causal layer's extra steps that is cut at the end

    @property
    def trimmed(self) -> tuple[int, int]:
        """Steps cut from the two ends of the full transposed convolution."""
        surplus = self.kernel - self.stride
        right = math.ceil(surplus * self.trim_right) if self.causal else surplus // 2
        return surplus - right, right

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T * stride, features]."""
        rows, steps, width = x_BxTxC.shape
        inside = width // self.groups
        shape = (self.kernel, inside, self.features)
        # An output step reads one in `stride` of the kernel's taps.
        scaled = nn.initializers.variance_scaling(self.stride, "fan_in", "truncated_normal")
        kernel = self.param("kernel", scaled, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Input step t writes output steps [rt, rt + mr): each block of r is the sum of m matmuls.
        x = x_BxTxC.reshape(rows, steps, self.groups, inside)
        later = self.kernel // self.stride - 1
        blocks = jnp.zeros((rows, steps + later, self.stride, self.features))
        for delay, part in enumerate(jnp.split(kernel, later + 1)):
            part = part.reshape(self.stride, inside, self.groups, -1)
            y = jnp.einsum("btgi,kigo->btkgo", x, part, precision="highest")
            y = y.reshape(rows, steps, self.stride, self.features)
            blocks += jnp.pad(y, ((0, 0), (delay, later - delay), (0, 0), (0, 0)))
        y = blocks.reshape(rows, -1, self.features)
        left, right = self.trimmed
        return y[:, left : y.shape[1] - right] + bias


class Lstm(nn.Module):
    """Stacked LSTM over time with a skip connection; gates are in PyTorch's order i, f, g, o."""

    layers: int  # number of layers

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, carry: Carry | None = None) -> tuple[jax.Array, Carry]:
        """Output [B, T, D] and the state after the last step; `carry` None means zeros."""
        rows, _, width = x_BxTxD.shape
        if carry is None:
            zeros = jnp.zeros((self.layers, rows, width))
            carry = (zeros, zeros)
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        h_BxTxD, memory = x_BxTxD, []
        for layer, start in enumerate(zip(*carry, strict=True)):
            into = self.param(f"input_kernel_{layer}", uniform, (width, 4 * width))
            again = self.param(f"state_kernel_{layer}", uniform, (width, 4 * width))
            bias = self.param(f"bias_{layer}", nn.initializers.zeros, (4 * width,))
            driven = jnp.einsum("btd,dg->tbg", h_BxTxD, into, precision="highest") + bias

            def step(state: Carry, x: jax.Array, again: jax.Array = again) -> tuple[Carry, Any]:
                hidden, cell = state
                gates = x + jnp.dot(hidden, again, precision="highest")
                i, f, g, o = jnp.split(gates, 4, axis=-1)
                cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
                hidden = nn.sigmoid(o) * jnp.tanh(cell)
                return (hidden, cell), hidden

            end, h_TxBxD = jax.lax.scan(step, start, driven)
            memory.append(end)
            h_BxTxD = jnp.moveaxis(h_TxBxD, 0, 1)
        hidden, cell = (jnp.stack(part) for part in zip(*memory, strict=True))
        return x_BxTxD + h_BxTxD, (hidden, cell)


Layer = nn.Module | Callable[[jax.Array], jax.Array]


def run(chain: Sequence[Layer], x_BxTxC: jax.Array) -> jax.Array:
    """Apply the layers in turn; LSTMs start from a state of zeros."""
    for layer in chain:
        x_BxTxC = layer(x_BxTxC)[0] if isinstance(layer, Lstm) else layer(x_BxTxC)
    return x_BxTxC
