"""Recognition with the demo's encoder, small enough for two CPU cores.

    uniwav train --config=asr_demo --workdir=runs/asr \
        --config.init_from=runs/demo --config.data.manifest=TSV --config.data.eval_manifest=TSV

For comparison, `--config=asr_demo:scratch` without init_from trains from scratch. Values without a
source are ours, because no publication has such a size.
"""

from uniwav_jax.config import default_config


def get_config(start="pretrained"):
    config = default_config("tiny")
    config.task = "asr"
    config.asr.freeze_steps = 0 if start == "scratch" else 50
    config.asr.time_mask = config.asr.channel_mask = 0.0  # masks made such short runs worse
    config.model.encoder.dropout = 0.1
    config.model.compute_dtype = "float32"  # as in the demo
    config.model.remat = "none"  # as in the demo

    config.data.batch_seconds = 34.0
    config.data.buckets = (8.0, 12.0, 17.0)
    config.data.min_seconds = 0.3
    config.data.row_multiple = 2
    config.data.threads = 2
    config.features.kind = "codec"
    config.features.window = 512  # as in the demo
    config.features.stats_seconds = 300.0  # as in the demo

    config.optim.lr = 1e-3
    config.optim.weight_decay = 0.0  # fairseq
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.1, 0.4, 0.5  # fairseq
    config.optim.final_scale = 0.05  # fairseq, for wav2vec 2.0
    config.train.steps = 1200
    config.train.log_every = 25
    config.checkpoint.every = 250
    config.checkpoint.keep_every = 0
    config.evaluate.every = 250
    config.evaluate.batches = 0  # every clip
    config.evaluate.sample_every = 0  # recognition has no audio output
    config.health.grace_steps = 400  # letters appear after about 200 updates
    return config
