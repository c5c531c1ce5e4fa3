"""Forced alignment: the times of the tokens of a known text, by Viterbi over CTC posteriors.

A text of U tokens has 2 U + 1 states: blank, token 1, blank, ..., token U, blank. From one frame to
the next a path stays in its state, goes to the next state, or skips a blank between two different
tokens.
"""

import dataclasses
import functools
import os
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.audio import folders
from uniwav_jax.data import manifest
from uniwav_jax.data.partners import short_names
from uniwav_jax.errors import UserError
from uniwav_jax.inference.recognize import Recognizer
from uniwav_jax.inference.words import Word
from uniwav_jax.losses import ctc
from uniwav_jax.text import alphabet as text_lib
from uniwav_jax.text.files import read_text

NEVER = -1e30  # stands for the logarithm of zero
# Frames and tokens are padded to multiples of these, so that few shapes are compiled.
FRAME_STEP, TOKEN_STEP = 256, 64
MAX_CELLS = 2**30  # frames x states of one file; each takes at least a byte of memory
PAUSE = 0.25  # seconds; a longer gap between two tokens is taken for silence


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The words and tokens of a text with their times in the audio, in seconds.

    Attributes:
        words: the words of the text.
        tokens: its letters or phones, without spaces.
        score: mean natural logarithm of the path's probability per frame; it is low where the text
            is not what is spoken.
    """

    words: list[Word]
    tokens: list[Word]
    score: float


def align(recognizer: Recognizer, log_probs_TxV: np.ndarray, text: str) -> Alignment:
    """Align a text with the posteriors of its audio.

    Args:
        recognizer: the model that computed the posteriors.
        log_probs_TxV: float32, one result of `recognizer.run`.
        text: what is spoken in the audio.

    Raises:
        UserError: the text is empty, has symbols that the model does not know, or is too long for
            the audio.
    """
    config, rate = recognizer.config.text, recognizer.frame_rate
    try:
        tokens = recognizer.vocabulary.encode(text)
    except text_lib.UnknownSymbolError as error:
        raise UserError(f"text {error}") from error
    places, score = token_times(log_probs_TxV, tokens, rate)
    symbols = [config.symbols[token - 1] for token in tokens]
    timed = [Word(s, a, b) for s, (a, b) in zip(symbols, places.tolist())]
    words, place = [], 0
    for word in text_lib.normalize(text, config).split():
        length = len(word) if config.units == "letters" else 1
        if config.lexicon:
            length = len(text_lib.pronounce(word, config))
        part = timed[place : place + length]
        words.append(Word(word, part[0].start, part[-1].end))
        place += length + (config.units == "letters")  # the space
    return Alignment(words, [t for t in timed if t.text != text_lib.SPACE], score)


def token_times(
    log_probs_TxV: np.ndarray, tokens: Sequence[int], rate: float
) -> tuple[np.ndarray, float]:
    """Start and end of each token in seconds, float [U, 2], and the score of `Alignment`.

    Args:
        log_probs_TxV: float32, of the audio.
        tokens: U numbers of symbols, from 1 on.
        rate: frames per second.

    Raises:
        UserError: there are no tokens, or too many for the audio.
    """
    if not len(tokens):
        raise UserError("no text to align")
    frames, count = len(log_probs_TxV), len(tokens)
    total, most = (-(-n // step) * step for n, step in ((frames, FRAME_STEP), (count, TOKEN_STEP)))
    if total * (2 * most + 1) > MAX_CELLS:
        raise UserError(
            f"{frames / rate:.0f} s with {count} tokens need too much memory; cut them into pieces"
        )
    padded_TxV = np.pad(log_probs_TxV, ((0, total - frames), (0, 0)))
    tokens_U = np.pad(tokens, (0, most - count), constant_values=-1)
    state_BxT, score_B = best_path(
        jnp.asarray(padded_TxV)[None], jnp.array([frames]), jnp.asarray(tokens_U)[None]
    )
    score = float(score_B[0])
    if score < NEVER / 2:
        needed = int(ctc.needed_frames(tokens_U[None])[0])
        raise UserError(f"the text needs {needed} frames, the audio has {frames}")
    places = _filled(spans(np.asarray(state_BxT)[0], count), frames, round(PAUSE * rate))
    return places / rate, score / frames


def _filled(places_Ux2: np.ndarray, frames: int, pause: int) -> np.ndarray:
    """Spans float [U, 2] widened so that neighbours meet, except across pauses.

    CTC emits a token in one or two frames, far shorter than it is spoken.
    """
    filled = places_Ux2.astype(float)
    gaps = places_Ux2[1:, 0] - places_Ux2[:-1, 1]
    share = np.minimum(gaps, pause) / 2
    filled[:-1, 1] += share
    filled[1:, 0] -= share
    filled[0, 0] -= min(filled[0, 0], pause / 2)
    filled[-1, 1] += min(frames - filled[-1, 1], pause / 2)
    return filled


@functools.partial(jax.jit, static_argnames="blank")
def best_path(
    log_probs_BxTxV: jax.Array, frames_B: jax.Array, tokens_BxU: jax.Array, *, blank: int = 0
) -> tuple[jax.Array, jax.Array]:
    """The most probable path through the states of each row's text.

    Args:
        log_probs_BxTxV: float32 log-probabilities.
        frames_B: int32, real frames of each row.
        tokens_BxU: int32, -1 after a text's end.
        blank: index of the blank in V.

    Returns:
        The state of each frame, int32 [B, T]: 2 i + 1 for token i, an even number for a blank, -1
        on padding; and the path's log-probability, float32 [B], which is below `NEVER / 2` where
        the text has more tokens than the row's frames can emit.
    """
    rows, total, _ = log_probs_BxTxV.shape
    states = 2 * tokens_BxU.shape[1] + 1
    lengths_B = ctc.token_mask(tokens_BxU).sum(-1)
    token_BxS = jnp.full((rows, states), blank).at[:, 1::2].set(jnp.maximum(tokens_BxU, 0))
    before = jnp.pad(token_BxS, ((0, 0), (2, 0)), constant_values=blank)[:, :states]
    skips_BxS = (token_BxS != blank) & (token_BxS != before)
    exists_BxS = jnp.arange(states) <= 2 * lengths_B[:, None]
    emit = jnp.take_along_axis(
        log_probs_BxTxV, jnp.broadcast_to(token_BxS[:, None], (rows, total, states)), axis=-1
    )
    emit_TxBxS = jnp.moveaxis(jnp.where(exists_BxS[:, None], emit, NEVER), 1, 0)

    def forward(score_BxS: jax.Array, frame: tuple) -> tuple[jax.Array, jax.Array]:
        emit_BxS, real_B = frame
        padded = jnp.pad(score_BxS, ((0, 0), (2, 0)), constant_values=NEVER)
        came_from = jnp.stack(
            [score_BxS, padded[:, 1:-1], jnp.where(skips_BxS, padded[:, :-2], NEVER)]
        )
        step_BxS = came_from.argmax(0)
        new = jnp.maximum(came_from.max(0) + emit_BxS, NEVER)
        real = real_B[:, None]
        return jnp.where(real, new, score_BxS), jnp.where(real, step_BxS, 0).astype(jnp.int8)

    real_TxB = jnp.arange(total)[:, None] < frames_B
    start_BxS = jnp.where(jnp.arange(states) < 2, emit_TxBxS[0], NEVER)
    score_BxS, steps = jax.lax.scan(forward, start_BxS, (emit_TxBxS[1:], real_TxB[1:]))

    ends = jnp.stack([2 * lengths_B, jnp.maximum(2 * lengths_B - 1, 0)], 1)
    end_scores = jnp.take_along_axis(score_BxS, ends, axis=1)
    end_B = jnp.take_along_axis(ends, end_scores.argmax(1)[:, None], axis=1)[:, 0]

    def backward(state_B: jax.Array, step_BxS: jax.Array) -> tuple[jax.Array, jax.Array]:
        step_B = jnp.take_along_axis(step_BxS, state_B[:, None], axis=1)[:, 0]
        return state_B - step_B, state_B

    first_B, later = jax.lax.scan(backward, end_B, steps, reverse=True)
    state_BxT = jnp.concatenate([first_B[None], later]).T.astype(jnp.int32)
    return jnp.where(real_TxB.T, state_BxT, -1), end_scores.max(1)


def spans(state_T: np.ndarray, count: int) -> np.ndarray:
    """First and end frame of each of `count` = U tokens, int [U, 2], of one row's states [T]."""
    state_T = np.asarray(state_T)
    places = np.arange(count) * 2 + 1
    real = state_T[state_T >= 0]  # the states of a path never decrease
    return np.stack([np.searchsorted(real, places), np.searchsorted(real, places, "right")], 1)


def pairs(source: str, endings: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(path, name, text) of clips to align or to score.

    Args:
        source: a manifest with a column text, or a folder of audio with NAME.txt or NAME.lab
            beside each file. Names are paths below the manifest's folder or this folder.
        endings: lower-case suffixes of audio files in a folder.

    Raises:
        UserError: there is no such source, or no text in it.
    """
    if not os.path.isdir(source):
        with tempfile.TemporaryDirectory() as cache:
            corpus = manifest.load(source, cache=cache)
            rows = range(len(corpus))
            found = [
                (corpus.path(row), corpus.name(row), corpus.label(row, "text")) for row in rows
            ]
    else:
        found = []
        for name in map(str, folders.find(source, endings)):
            path = pathlib.Path(source) / name
            texts = [path.with_suffix(ending) for ending in (".txt", ".lab")]
            text = next((file for file in texts if file.is_file()), None)
            if text:
                found.append((str(path), name, read_text(text)))
    # An absolute path in a manifest cannot name a file of results.
    absolute = [place for place, (_, name, _) in enumerate(found) if os.path.isabs(name)]
    for place, name in zip(absolute, short_names([found[place][1] for place in absolute])):
        found[place] = (found[place][0], name, found[place][2])
    if not any(text.strip() for *_, text in found):
        raise UserError(
            f"{source} has no text to align: give a manifest with a column text, or a folder of"
            " audio with NAME.txt or NAME.lab beside each file"
        )
    return found
