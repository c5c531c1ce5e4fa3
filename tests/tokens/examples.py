"""Random tokens, and their comparison."""

import numpy as np

from uniwav_jax.tokens.value import Tokens

MODEL = "00ff12ab34cd56ef"
FRAMES = (0, 1, 2, 255, 256, 257, 700, 1024)
SIZES = (2, 3, 4, 7, 256, 500, 1000, 1024, 4375, 32768, 32769, 65536, 2**31)


def random_tokens(rng: np.random.Generator, **fields) -> Tokens:
    """Tokens of a random number of frames and books of random sizes; `fields` replace others."""
    sizes = fields.pop("book_sizes", None) or rng.choice(SIZES, rng.integers(1, 9)).tolist()
    frames = fields.pop("frames", int(rng.choice(FRAMES)))
    chosen = {
        "codes": np.stack([rng.integers(0, size, frames) for size in sizes], axis=1),
        "book_sizes": sizes,
        "sample_rate": 16000,
        "hop": 320,
        "samples": max(frames * 320 - 100, 0),
        "model": MODEL,
        "id": f"speaker/clip {rng.integers(1000)}",
        "text": "grüß Gott, мир",
    }
    if rng.random() < 0.5:
        shape = rng.integers(1, 20, 2)
        chosen |= {"prompt": rng.standard_normal(shape).astype(np.float16), "prompt_name": "A.wav"}
    return Tokens(**(chosen | fields))


def assert_equal(one: Tokens, other: Tokens) -> None:
    for name in vars(one):
        mine, others = getattr(one, name), getattr(other, name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == others.dtype, name
            np.testing.assert_array_equal(mine, others)
        else:
            assert mine == others, name
