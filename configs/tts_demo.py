"""Text-to-speech, small enough for two CPU cores.

    uniwav train --config=tts_demo --workdir=runs/tts \
        --config.init_from=runs/demo --config.init_parts=encoder \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

The manifests have phones (`uniwav data phones`). Without init_from the model is trained from
scratch. Values without a source are ours, because no publication has such a size.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.task = "tts"
    config.model.decoder.layers, config.model.decoder.width = 6, 256
    config.model.decoder.heads, config.model.decoder.ffn = 4, 512
    config.model.compute_dtype = "float32"  # CPUs have no fast bfloat16
    config.model.remat = "none"  # memory is no concern at this size

    config.data.batch_seconds = 32.0
    config.data.buckets = (4.0,)
    config.data.min_seconds = 1.0
    config.data.threads = 2
    config.features.kind = "codec"
    config.features.stats_seconds = 300.0

    config.flow.context = True
    config.flow.stratified = True
    config.flow.guidance = 1.5
    config.flow.temperature = 0.7
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 16, -1.0

    config.optim.lr = 1e-3
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.05, 0.45, 0.5
    config.train.steps = 4000
    config.train.log_every = 25
    config.checkpoint.every = 500
    config.checkpoint.keep_every = 0
    config.evaluate.every = 500
    config.evaluate.batches = 8
    config.evaluate.sample_every = 1000
    config.health.grace_steps = 200
    return config
