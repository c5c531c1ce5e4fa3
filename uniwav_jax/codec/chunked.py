"""Runs a codec on audio of any length in bounded memory, with the same result as in one call.

Convolutions run over overlapping windows; each window contributes the central frames, which the cut
at its ends does not affect, and an LSTM passes its state from block to block. The first window
begins and the last one ends with the audio, so that the codec's own padding is applied there. All
windows have the same length (the last one up to a hop more), so that few programs are compiled.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from uniwav_jax.codec import layers, mdct
from uniwav_jax.codec.config import Structure
from uniwav_jax.codec.network import Codec, chain
from uniwav_jax.types import PyTree

SECONDS = 4.0  # seconds of audio per window
PIECE = 256  # largest number of LSTM steps in one call


def encode(
    config: Structure,
    params: PyTree,
    audio: Iterable[np.ndarray],
    *,
    seconds: float = SECONDS,
) -> Iterator[np.ndarray]:
    """Encode a stream of audio.

    Args:
        config: the codec's structure.
        params: parameters of `network.Codec`.
        audio: blocks float32 [n] in [-1, 1], of any lengths.
        seconds: length of one window; memory grows with it.

    Yields:
        Blocks float32 [n, C], together ceil(samples / hop) frames.
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
    """Decode a stream of latents.

    Args:
        config, params, seconds: as for `encode`.
        latents: blocks float32 [n, C], of any lengths.

    Yields:
        Blocks float32 [n], together frames * hop samples.
    """
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
    """Run `part` on a stream of blocks [n, C], in windows of `window` input steps; yields [n, C'].

    Between two LSTMs the layers run on overlapping windows; an LSTM runs on the stream itself.
    """
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
    """Compile the layers [first, last) as `(params, x [1, n, C]) -> y [1, n', C']`.

    With `first` == `last` compile the LSTM at that index: `(params, x, carry) -> (y, carry)`.
    """
    options = {"part": part, "index": first, "method": "run_memory"}
    if first < last:
        options = {"part": part, "first": first, "last": last, "method": "run_part"}
    apply = functools.partial(Codec(config).apply, **options)
    return jax.jit(lambda params, *inputs: apply({"params": params}, *inputs))


def _carried(blocks: Iterable[np.ndarray], step: Callable[..., Any]) -> Iterator[np.ndarray]:
    """Run an LSTM on a stream, in pieces of 2^n steps, so that few programs are compiled."""
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
    """Whether one of the layers is an LSTM, whose output depends on the whole past."""
    return any(isinstance(layer, layers.Lstm) for layer in parts)


def reach(parts: list[layers.Layer]) -> tuple[int, int, int, int]:
    """Receptive field of one output step: (left, right) in input steps, then up- and downsampling.

    Left is a multiple of the downsampling. LSTMs are left out, because their reach is unlimited.
    """
    left = right = 0
    up = down = 1
    for layer in reversed(parts):
        if isinstance(layer, layers.Upsampling | mdct.Synthesis):
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
    """Apply `run` to windows of a stream, with the same result as on the whole stream.

    Args:
        blocks: [n, C], of any lengths.
        run: [1, n, C] -> [1, ceil(n / down) * up, C']; each output step depends on `left` and
            `right` input steps around it.
        window: input steps of one call without that context; a multiple of `down`, as `left` is.
        left, right, up, down: the result of `reach`.

    Yields:
        Blocks [n, C'].
    """
    window += left + right + -right % down
    # `pending` has the input from step `start` on; the outputs of the first `done` input steps have
    # been yielded.
    pending, start, done = None, 0, 0

    def outputs(begin: int, end: int | None) -> np.ndarray:
        nonlocal done
        piece = pending[begin - start : None if end is None else end - start]
        y = np.asarray(run(piece[None])[0])
        since, done = done, begin + len(piece) - right if end is not None else None
        if done is not None:
            done -= done % down
        stop = None if done is None else (done - begin) // down * up
        return y[(since - begin) // down * up : stop]

    for block in blocks:
        pending = np.asarray(block) if pending is None else np.concatenate([pending, block])
        while start + len(pending) > (begin := max(0, done - left)) + window:
            yield outputs(begin, begin + window)
        # Keep enough input for the last window, which is as long as the others and ends with it.
        drop = min(max(0, done - left), start + len(pending) - window - down) - start
        if drop > 0:
            drop -= drop % down
            pending, start = pending[drop:], start + drop
    if pending is not None and len(pending):
        begin = max(0, start + len(pending) - window)
        yield outputs(begin - begin % down, None)
