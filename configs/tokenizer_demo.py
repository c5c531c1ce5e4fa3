"""Speech tokens of a demo model, 800 bit/s in two books, small enough for two CPU cores.

    uniwav evaluate units --checkpoint runs/demo --manifest TSV --alignments FOLDER --out units.json
    uniwav train --config=tokenizer_demo --workdir=runs/tokens --config.init_from=runs/demo \
        --config.tokenizer.units=units.json --config.data.manifest=TSV \
        --config.data.eval_manifest=TSV

Instead of tokenizer.units, tokenizer.layer=N chooses the layer. Values without a source are ours,
because no publication has such a size.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.task = "tokenizer"
    config.model.compute_dtype = "float32"  # CPUs have no fast bfloat16
    config.model.remat = "none"  # memory is no concern at this size
    config.tokenizer.books = 2
    config.tokenizer.codewords = 256  # the speech of an hour does not fill 1024

    config.data.batch_seconds = 32.0
    config.data.buckets = (4.0,)
    config.data.min_seconds = 1.0
    config.data.threads = 2
    config.features.kind = "codec"
    config.features.stats_seconds = 300.0

    config.flow.stratified = True
    config.flow.guidance = 1.5
    config.flow.temperature = 0.7
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 16, -1.0

    config.optim.lr = 1e-3
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.05, 0.45, 0.5
    config.train.steps = 2000
    config.train.log_every = 25
    config.checkpoint.every = 500
    config.checkpoint.keep_every = 0
    config.evaluate.every = 500
    config.evaluate.batches = 8
    config.evaluate.sample_every = 1000
    config.health.grace_steps = 200
    return config
