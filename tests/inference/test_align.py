"""The aligner finds the best of all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.inference import align


def paths(states, frames):
    """All valid sequences of states, numbered from 0, of a text."""

    def steps(state, tokens):
        yield state
        if state + 1 < len(tokens):
            yield state + 1
        if state + 2 < len(tokens) and tokens[state] and tokens[state] != tokens[state + 2]:
            yield state + 2

    def extend(path):
        if len(path) == frames:
            if path[-1] >= len(states) - 2:
                yield path
            return
        for state in steps(path[-1], states):
            yield from extend([*path, state])

    for start in range(min(2, len(states))):
        yield from extend([start])


@pytest.mark.parametrize("tokens", [[1], [1, 2], [1, 1], [2, 1, 1], [1, 2, 1, 2]])
def test_best_path_has_the_highest_score(tokens):
    frames = 6
    random = np.random.default_rng(len(tokens))
    logits = random.standard_normal((1, frames + 2, 3)).astype(np.float32) * 2
    log_probs = jax.nn.log_softmax(logits)
    states = [0, *itertools.chain(*((token, 0) for token in tokens))]
    scores = {
        tuple(path): sum(float(log_probs[0, t, states[s]]) for t, s in enumerate(path))
        for path in paths(states, frames)
    }
    best = max(scores, key=scores.get)
    padded = np.array([[*tokens, -1, -1]])
    state, score = align.best_path(log_probs, jnp.array([frames]), padded)
    assert state[0, :frames].tolist() == list(best) and (state[0, frames:] == -1).all()
    np.testing.assert_allclose(score[0], scores[best], rtol=1e-5)
    spans = align.spans(state[0], len(tokens))
    for number, (first, last) in enumerate(spans):
        assert list(best[first:last]) == [2 * number + 1] * (last - first)
        assert last > first


def test_rows_are_independent_and_impossible_texts_have_a_low_score():
    random = np.random.default_rng(3)
    log_probs = jax.nn.log_softmax(random.standard_normal((3, 9, 4)).astype(np.float32))
    tokens, frames = np.array([[1, 2, 3], [3, 3, -1], [1, 1, 1]]), np.array([9, 5, 4])
    state, score = align.best_path(log_probs, jnp.asarray(frames), tokens)
    for row in range(2):
        real = frames[row]
        alone, alone_score = align.best_path(
            log_probs[row : row + 1, :real], jnp.array([real]), tokens[row : row + 1]
        )
        assert state[row, :real].tolist() == alone[0].tolist()
        np.testing.assert_allclose(score[row], alone_score[0], rtol=1e-6)
    assert score[2] < align.NEVER / 2 < min(score[:2])
