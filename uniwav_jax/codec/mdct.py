"""A codec that works at frame rate: networks around an analytic skip path; the design is ours.

    waveform [B, S, 1] -> windows of 2 hops, MDCT and MDST [B, T, hop] each
        -> gains of bands, shape of the lowest coefficients: the skip latents [B, T, C]
        -> skip latents + network(log magnitudes, coefficients): latents [B, T, C]
    latents -> network: corrections of gains and shape
        -> gains * shape = MDCT coefficients [B, T, hop] -> inverse MDCT -> waveform [B, T hop, 1]

The MDCT (Princen and Bradley, 1986) is a transform of overlapping windows with as many coefficients
as samples and perfect reconstruction; with the MDST it gives magnitudes that do not depend on the
phase. The skip latents alone already decode to intelligible speech, so training starts from there.
No layer runs at the rate of the waveform. All arrays are float32, except inside the networks if the
structure's compute_dtype is bfloat16.

The channels of the latents are, in this order: the shape of the lowest coefficients of MDCT and
MDST ("fine"), the cosine transform of the bands' log gains, which is a cepstrum, and channels
without a skip path.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import MdctConfig

FLOOR = 1e-7  # added to energies; an amplitude of 3e-4 per coefficient
LEVEL, SPREAD = -5.0, 2.0  # typical mean and deviation of log gains in nats, to scale the network
TAPER = 8  # coefficients
LARGEST = 6.0  # largest absolute value of a companded shape
LOUDEST = 6.0  # largest log gain in nats, far above that of a full-scale signal

gelu = functools.partial(jax.nn.gelu, approximate=True)  # half the cost of the exact one on CPUs


@functools.lru_cache
def window(hop: int) -> np.ndarray:
    """The sine window, float32 [2 hop]; its square and the shifted square add up to 1."""
    return np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)


@functools.lru_cache
def basis(hop: int) -> np.ndarray:
    """Windowed MDCT and MDST as one matrix, float32 [2 hop, 2 hop]: hop columns of each.

    One multiplication by it costs a few percent of the networks, so all platforms use it, and
    results do not depend on the platform's Fourier transform.
    """
    sample, index = np.arange(2 * hop)[:, None], np.arange(hop)
    angle = np.pi / hop * (sample + 0.5 + hop / 2) * (index + 0.5)
    both = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(2.0 / hop)
    return (both * window(hop)[:, None]).astype(np.float32)


@functools.lru_cache
def inverse(hop: int, second: int) -> np.ndarray:
    """Windowed inverse of all MDCT and the lowest `second` MDST coefficients.

    Coefficients that are given twice have half the weight each. Between them and the others the
    weights change over `TAPER` coefficients, because the aliasing of windows cancels only where
    neighbouring coefficients have similar weights: an error of -30 dB remains.

    Returns:
        float32 [hop + second, 2 hop].
    """
    share = np.full(second, 0.5)
    if second < hop:
        taper = min(TAPER, second)
        share[second - taper :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(taper) + 0.5) / taper)
    weights = np.concatenate([1.0 - share, np.ones(hop - second), share])
    return (basis(hop)[:, : hop + second] * weights).T.astype(np.float32)


@functools.lru_cache
def bands(hop: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that average coefficients over bands, and interpolate bands' gains.

    Returns:
        float32 [hop, count], whose columns add up to 1, and float32 [count, hop], which
        interpolates linearly between the centres of the bands.
    """
    edges = band_edges(hop, count)
    average = np.zeros((hop, count), np.float32)
    for band, (first, last) in enumerate(itertools.pairwise(edges)):
        average[first:last, band] = 1.0 / (last - first)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    rows = [np.interp(np.arange(hop), centres, row) for row in np.eye(count)]
    return average, np.stack(rows).astype(np.float32)


def band_edges(hop: int, count: int) -> np.ndarray:
    """First coefficient of each band, and the number of coefficients; int [count + 1].

    The first bands have equal widths, and all others grow by the same factor.
    """
    low = max(1, round(count * 2 / 9))
    linear = hop * 9 // 80 // low
    factors = np.linspace(1.0, 1.5, 5001)
    left, rest = hop - low * linear, count - low
    total = linear * factors[:, None] ** np.arange(1, rest + 1)
    growth = factors[np.abs(total.sum(1) - left).argmin()]
    widths = np.concatenate([[0], np.full(low, linear), linear * growth ** np.arange(1, rest + 1)])
    edges = np.round(np.cumsum(widths)).astype(int)
    edges[-1] = hop
    return edges


@functools.lru_cache
def cosine(count: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) of `count` values, float32 [count, count]."""
    angle = np.pi / count * np.outer(np.arange(count) + 0.5, np.arange(count))
    matrix = np.cos(angle) * np.sqrt(2.0 / count)
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix.astype(np.float32)


def multiply(x_BxTxC: jax.Array, matrix_CxD: np.ndarray) -> jax.Array:
    """Product with a constant matrix, float32 [B, T, D]."""
    return jnp.einsum("btc,cd->btd", x_BxTxC, matrix_CxD, precision="highest")


class Analysis(nn.Module):
    """Skip latents and the input of the encoder's network, of a waveform."""

    config: MdctConfig

    @property
    def stride(self) -> int:
        """Samples per frame."""
        return self.config.hop

    @property
    def padding(self) -> tuple[int, int]:
        """Samples before and after the block of samples that belongs to a frame."""
        return self.config.hop // 2, self.config.hop // 2

    def __call__(self, audio_BxSx1: jax.Array) -> jax.Array:
        """[B, S, 1] -> [B, ceil(S / hop), C + 3 hop]."""
        c, hop = self.config, self.config.hop
        left, right = self.padding
        padded = jnp.pad(audio_BxSx1[..., 0], ((0, 0), (left, right + -audio_BxSx1.shape[1] % hop)))
        halves = padded.reshape(len(padded), -1, hop)
        frames = jnp.concatenate([halves[:, :-1], halves[:, 1:]], axis=-1)
        both = multiply(frames, basis(hop))
        real, imaginary = both[..., :hop], both[..., hop:]
        energy = 0.5 * (jnp.square(real) + jnp.square(imaginary)) + FLOOR
        average, spread = bands(hop, c.bands)
        gains = 0.5 * jnp.log(multiply(energy, average))
        scale = c.companding * jnp.exp(-multiply(gains, spread[:, : c.shape]))
        parts = [real[..., : c.shape] * scale]
        parts += [imaginary[..., : c.quadrature] * scale[..., : c.quadrature]]
        fine = jnp.arcsinh(jnp.concatenate(parts, axis=-1))
        cepstrum = multiply((gains - LEVEL) / SPREAD, cosine(c.bands))
        free = jnp.zeros((*gains.shape[:2], c.free))
        root = jax.lax.rsqrt(jnp.sqrt(2.0 * energy))
        inputs = [0.5 * jnp.log(energy) - LEVEL, 2.0 * real * root, 2.0 * imaginary * root]
        return jnp.concatenate([fine, cepstrum, free, *inputs], axis=-1)


class Network(nn.Module):
    """Residual blocks of ConvNeXt between two convolutions; the base of both networks."""

    config: MdctConfig

    def setup(self) -> None:
        self.block = network(self.config, self.decodes)

    @property
    def padding(self) -> tuple[int, int]:
        """Frames of context before and after a frame."""
        blocks = self.config.decoder_blocks if self.decodes else self.config.encoder_blocks
        side = blocks * (self.config.kernel // 2) + self.decodes
        return side, side

    def run(self, x_BxTxD: jax.Array) -> jax.Array:
        """Output of all layers, float32 [B, T, D'], computed in `compute_dtype`."""
        inputs = x_BxTxD.astype(self.config.compute_dtype)
        return layers.run(self.block, inputs).astype(jnp.float32)


class Encoder(Network):
    """Adds the output of the network to the skip latents."""

    decodes = False

    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        """[B, T, C + 3 hop] -> [B, T, C]."""
        skip, inputs = jnp.split(x_BxTxD, [self.config.dimension], axis=-1)
        return skip + self.run(inputs)


class Decoder(Network):
    """Puts the output of the network, corrections of shape and gains, after the latents."""

    decodes = True

    def __call__(self, z_BxTxC: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C + corrections]."""
        return jnp.concatenate([z_BxTxC, self.run(z_BxTxC)], axis=-1)


class Block(nn.Module):
    """x + pointwise(GELU(pointwise(norm(depthwise(x))))): ConvNeXt (arXiv 2201.03545)."""

    config: MdctConfig

    def setup(self) -> None:
        self.block = block(self.config)

    @property
    def padding(self) -> tuple[int, int]:
        """Frames before and after."""
        return self.config.kernel // 2, self.config.kernel // 2

    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        """[B, T, width] -> the same shape."""
        return x_BxTxD + layers.run(self.block, x_BxTxD)


def block(c: MdctConfig) -> list[layers.Layer]:
    """The layers inside a `Block`."""
    return [
        layers.Convolution(c.width, c.kernel, groups=c.width),
        layers.ChannelNorm(),
        layers.Convolution(c.inner, 1),
        gelu,
        layers.Convolution(c.width, 1, gain=0.3),
    ]


def network(c: MdctConfig, decodes: bool) -> list[layers.Layer]:
    """The layers inside `Decoder` (True) or `Encoder` (False)."""
    # Channels with a skip path start with small corrections.
    gains = (0.05,) * (c.fine + c.bands) + (1.0,) * c.free
    if decodes:
        first, count = layers.Convolution(c.width, 3), c.decoder_blocks
        last = layers.Convolution(corrections(c), 1, gain=0.05)
    else:
        first, count = layers.Convolution(c.width, 1), c.encoder_blocks
        last = layers.Convolution(c.dimension, 1, gain=gains)
    return [first, *(Block(c) for _ in range(count)), layers.ChannelNorm(), last]


def corrections(c: MdctConfig) -> int:
    """Number of values that the decoder's network corrects: all shapes, and gains."""
    return c.hop + c.quadrature + c.bands


class Synthesis(nn.Module):
    """Waveform of latents and corrections: gains times shape, and the inverse MDCT."""

    config: MdctConfig

    @property
    def stride(self) -> int:
        """Samples per frame."""
        return self.config.hop

    @property
    def kernel(self) -> int:
        """Samples that depend on a frame."""
        return 2 * self.config.hop

    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        """[B, T, C + corrections] -> [B, T hop, 1]."""
        c, hop, second = self.config, self.config.hop, self.config.quadrature
        places = np.cumsum([c.shape, second, c.bands, c.free, hop, second])
        real, imaginary, cepstrum, _, add, add_second, change = jnp.split(x_BxTxD, places, axis=-1)
        gains = (multiply(cepstrum, cosine(c.bands).T) + change) * SPREAD + LEVEL
        _, spread = bands(hop, c.bands)
        scale = jnp.exp(multiply(jnp.minimum(gains, LOUDEST), spread)) / c.companding
        companded = jnp.concatenate([add.at[..., : c.shape].add(real), imaginary + add_second], -1)
        scale = jnp.concatenate([scale, scale[..., :second]], -1)
        coefficients = jnp.sinh(jnp.clip(companded, -LARGEST, LARGEST)) * scale
        pieces = multiply(coefficients, inverse(hop, second))
        # Frame t covers half a hop before and after its block of samples: overlap-add.
        ends = ((0, 0), (0, 1), (0, 0)), ((0, 0), (1, 0), (0, 0))
        parts = jnp.pad(pieces[..., :hop], ends[0]) + jnp.pad(pieces[..., hop:], ends[1])
        wave = parts.reshape(len(parts), -1)
        # The first and the last half hop have no second window; the aliasing there is silence.
        square = np.square(window(hop))
        weight = np.ones(wave.shape[1], np.float32)
        weight[:hop], weight[-hop:] = square[:hop], square[hop:]
        return (wave / weight)[:, hop // 2 : -(hop // 2), None]


def encoder(c: MdctConfig) -> list[layers.Layer]:
    """The layers of the encoder."""
    return [Analysis(c), Encoder(c)]


def decoder(c: MdctConfig) -> list[layers.Layer]:
    """The layers of the decoder."""
    return [Decoder(c), Synthesis(c)]
