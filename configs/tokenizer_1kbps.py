"""Speech tokens at 1 kbit/s: two books of 1024 codewords at 50 frames a second (paper, Eq. 11).

`--config=tokenizer_1kbps:large` takes the large model, which is the paper's.

    uniwav evaluate units --checkpoint runs/base --manifest TSV --alignments FOLDER --out units.json
    uniwav train --config=tokenizer_1kbps --workdir=runs/tokens --config.init_from=runs/base \
        --config.tokenizer.units=units.json --config.data.manifest=TSV \
        --config.data.eval_manifest=TSV

Values without a source are ours, because the paper does not state them. We have not trained it.
`--config.features` must be those of pretraining.
"""

from uniwav_jax.config import default_config


def get_config(size="base"):
    config = default_config(size)
    config.task = "tokenizer"
    config.tokenizer.books = 2
    config.tokenizer.codewords = 1024  # paper
    config.tokenizer.commitment = 0.25  # VQ-VAE
    config.data.batch_seconds = 1900.0
    config.data.buckets = (4.0, 8.0, 12.0, 16.0, 20.0)
    config.optim.lr = 1e-4
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.03, 0.0, 0.97
    config.optim.final_scale = 0.1
    config.train.steps = 100_000
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 32, -1.0
    config.flow.guidance = 0.7  # as for text-to-speech
    config.checkpoint.every = 2000
    config.evaluate.every = 5000
    return config
