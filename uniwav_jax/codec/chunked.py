"""Audio of any length through a codec in bounded memory, with the whole audio's result.

Convolutions run over overlapping windows, and of each window only what its cut ends did not touch
is kept; an LSTM carries its memory from block to block. First and last window end where the audio
does, so that padding there is the codec's own. All windows have one length (the last: up to a hop
more), for few compilations.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from uniwav_jax.codec import layers
from uniwav_jax.codec.config import Structure
from uniwav_jax.codec.network import Codec, chain
from uniwav_jax.types import PyTree

SECONDS = 4.0  # per window
PIECE = 256  # most steps of an LSTM compiled as one


def encode(
    config: Structure,
    params: PyTree,
    audio: Iterable[np.ndarray],
    *,
    seconds: float = SECONDS,
) -> Iterator[np.ndarray]:
    """Latents of a stream.

    Args:
        config: the codec's structure.
        params: of `network.Codec`.
        audio: blocks float32 [n] in [-1, 1], of any lengths.
        seconds: of one window; memory grows with it.

    Yields:
        Blocks float32 [frames, C]; frames in all: ceil(samples / hop).
    """
    window = max(1, round(seconds * config.sample_rate / config.hop)) * config.hop
    return _stream(config, params, "encoder", (block[:, None] for block in audio), window)


def decode(
    config: Structure,
    params: PyTree,
    latents: Iterable[np.ndarray],
    *,
    seconds: float = SECONDS,
) -> Iterator[np.ndarray]:
    """Waveform of a stream of latents, blocks [frames, C]; yields float32 [samples]."""
    window = max(1, round(seconds * config.sample_rate / config.hop))
    for block in _stream(config, params, "decoder", latents, window):
        yield block[:, 0]


def _stream(
    config: Structure,
    params: PyTree,
    part: str,
    blocks: Iterable[np.ndarray],
    window: int,
) -> Iterator[np.ndarray]:
    parts = chain(config, part)
    memory = [i for i, layer in enumerate(parts) if isinstance(layer, layers.Lstm)]
    for first, last in zip([0, *(i + 1 for i in memory)], [*memory, len(parts)], strict=True):
        run = functools.partial(_compiled(config, part, first, last), params)
        left, right, up, down = reach(parts[first:last])
        blocks = overlapped(blocks, run, window=window, left=left, right=right, up=up, down=down)
        window = window * up // down
        if last < len(parts):
            blocks = _carried(
                blocks, functools.partial(_compiled(config, part, last, last), params)
            )
    return blocks


@functools.lru_cache(64)
def _compiled(config: Structure, part: str, first: int, last: int) -> Callable[..., Any]:
    """Jitted `(params, x) -> y` of some layers or, of none, `(params, x, carry)` of an LSTM."""
    options = {"part": part, "index": first, "method": "run_memory"}
    if first < last:
        options = {"part": part, "first": first, "last": last, "method": "run_part"}
    apply = functools.partial(Codec(config).apply, **options)
    return jax.jit(lambda params, *inputs: apply({"params": params}, *inputs))


def _carried(blocks: Iterable[np.ndarray], step: Callable[..., Any]) -> Iterator[np.ndarray]:
    """The LSTM over a stream, in pieces of 2^n steps: few lengths, few compilations."""
    carry = None
    for block in blocks:
        out = []
        while len(block):
            size = min(PIECE, 1 << (len(block).bit_length() - 1))
            piece, carry = step(block[None, :size], carry)
            out.append(np.asarray(piece[0]))
            block = block[size:]
        yield np.concatenate(out)


def has_memory(parts: list[layers.Layer]) -> bool:
    """Whether an LSTM is among them, whose past has no end."""
    return any(isinstance(layer, layers.Lstm) for layer in parts)


def reach(parts: list[layers.Layer]) -> tuple[int, int, int, int]:
    """How far beyond an output step its inputs lie, in input steps, left and right; up; down.

    Left is a multiple of `down`. An LSTM's memory is not counted.
    """
    left = right = 0
    up = down = 1
    for layer in reversed(parts):
        if isinstance(layer, layers.Upsampling):
            more = layer.kernel // layer.stride - 1
            left, right = (-(-side // layer.stride) + more for side in (left, right))
            up *= layer.stride
        elif isinstance(layer, nn.Module) and not isinstance(layer, layers.Lstm):
            stride = getattr(layer, "stride", 1)
            left, right = (
                side * stride + more
                for side, more in zip((left, right), layer.padding, strict=True)
            )
            down *= stride
    return -(-left // down) * down, right, up, down


def overlapped(
    blocks: Iterable[np.ndarray],
    run: Callable[[np.ndarray], jax.Array],
    *,
    window: int,
    left: int,
    right: int,
    up: int,
    down: int,
) -> Iterator[np.ndarray]:
    """Apply `run` ([1, n, C] -> [1, ceil(n / down) * up, C']) to a stream as if to the whole.

    Args:
        blocks: [n, C], of any lengths.
        run: depends on `left` and `right` input steps around each output.
        window: input steps of one call besides those; a multiple of `down`, as `left` is.
        left, right, up, down: see `reach`.

    Yields:
        [n, C'] blocks.
    """
    window += left + right + -right % down
    held, start, done = None, 0, 0  # input from step `start` on; outputs of `done` steps are out

    def outputs(begin: int, end: int | None) -> np.ndarray:
        nonlocal done
        piece = held[begin - start : None if end is None else end - start]
        y = np.asarray(run(piece[None])[0])
        since, done = done, begin + len(piece) - right if end is not None else None
        if done is not None:
            done -= done % down
        stop = None if done is None else (done - begin) // down * up
        return y[(since - begin) // down * up : stop]

    for block in blocks:
        held = np.asarray(block) if held is None else np.concatenate([held, block])
        while start + len(held) > (begin := max(0, done - left)) + window:
            yield outputs(begin, begin + window)
        # The last window is as long as the others and ends with the audio.
        drop = min(max(0, done - left), start + len(held) - window - down) - start
        if drop > 0:
            drop -= drop % down
            held, start = held[drop:], start + drop
    if held is not None and len(held):
        begin = max(0, start + len(held) - window)
        yield outputs(begin - begin % down, None)
