"""Health alarms of the training of speech tokens."""

import math

from uniwav_jax.config import Config
from uniwav_jax.tasks.task import Alarm


def _most_used(config: Config) -> float:
    """Number of codewords that one batch can use: no more than it has frames."""
    features = config.features
    frames = config.data.batch_seconds * features.sample_rate / features.hop
    return min(config.tokenizer.codewords, frames)


ALARMS = (
    Alarm(
        "book_1_perplexity",
        False,
        "min_codebook_use",
        "perplexity of book 1 is {value:.1f}, below {limit:.1f}: few codewords are used; choose"
        " another tokenizer.layer, larger batches, or fewer tokenizer.codewords",
        unit=_most_used,
    ),
    Alarm(
        "book_2_perplexity",
        False,
        "min_codebook_use",
        "perplexity of book 2 is {value:.1f}, below {limit:.1f}: few codewords are used; use larger"
        " batches, fewer tokenizer.codewords, or a lower tokenizer.commitment",
        unit=_most_used,
        applies=lambda config: config.tokenizer.books > 1,
        grace=lambda config: math.ceil(config.tokenizer.later * config.train.steps),
    ),
)
