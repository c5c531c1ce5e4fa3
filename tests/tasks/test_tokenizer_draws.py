"""Shares of what the decoder reads and of what is hidden, and the candidates of codewords."""

import jax
import numpy as np

from tests.tasks.test_tokenizer import FRAMES, language, make_config
from uniwav_jax.tasks import tokenizer_draws


def test_draws():
    config = make_config()
    example = language(jax.random.key(1), rows=4000)
    draws = tokenizer_draws.draw(jax.random.key(2), example, config)
    level = np.asarray(draws.level_B)
    shares = {kind: (level == kind).mean() for kind in (0, -1, 1, 2)}
    for kind, expected in {0: 0.1, -1: 0.2, 1: 0.3, 2: 0.4}.items():
        assert abs(shares[kind] - expected) < 0.03
    hidden = np.asarray(draws.hidden_BxT.sum(1))[:-1]
    assert abs((hidden == FRAMES).mean() - 0.5) < 0.03 and hidden.min() >= 0.4 * FRAMES - 1
    assert not draws.hidden_BxT[-1, 28:].any()
    assert tokenizer_draws.weight(example, draws) == draws.hidden_BxT.sum()
    chosen = np.asarray(draws.candidates_BxT)
    assert sorted(chosen[chosen < 16]) == list(range(16)) and (chosen[-1, 28:] >= 16).all()
