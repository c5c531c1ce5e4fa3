"""Speech tokens of the model `mini`: two books of 1024 codewords, 500 bit/s and 1 kbit/s, for CPUs.

    uniwav train --config=mini_tokenizer --workdir=runs/tokens --config.init_from=runs/mini \
        --config.tokenizer.layer=4 --config.data.manifest=TSV --config.data.eval_manifest=TSV

The layer is the one whose units say most of phones on held-out speech (`uniwav evaluate units`).
Values without a source are ours, because the paper has no such size; docs/results.md in the
repository shows what they give.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("mini")
    config.task = "tokenizer"
    config.tokenizer.books = 2
    config.tokenizer.codewords = 1024  # paper
    config.flow.start = 0.0
    config.flow.stratified = True
    config.flow.guidance = 1.0
    config.flow.temperature = 0.7
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 16, -1.0
    config.train.steps = 1500
    return config
