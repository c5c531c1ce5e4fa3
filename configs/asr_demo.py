"""Recognition small enough for two CPU cores: the demo's encoder learns letters.

    python -m uniwav_jax.main --config=configs/asr_demo.py --workdir=runs/asr \
        --config.init_from=runs/demo --config.data.manifest=TSV --config.data.eval_manifest=TSV

From scratch, for comparison: `--config=configs/asr_demo.py:scratch`, without init_from. All values
are ours where nothing else is said: no publication has such a size.
"""

from uniwav_jax.config import default_config


def get_config(start="pretrained"):
    config = default_config("tiny")
    config.task = "asr"  # ours
    config.asr.freeze_steps = 0 if start == "scratch" else 50  # ours
    config.asr.time_mask = config.asr.channel_mask = 0.0  # ours: masks cost so short a run more
    config.model.encoder.update(dropout=0.1, layer_drop=0.0)  # wav2vec 2.0
    config.model.encoder.attention_dropout = 0.0  # ours: a fifth of the time on CPU
    config.model.compute_dtype = "float32"  # ours: as the demo
    config.model.remat = "none"  # ours: as the demo

    config.data.batch_seconds = 34.0  # ours
    config.data.buckets = (8.0, 12.0, 17.0)  # ours
    config.data.min_seconds = 0.3  # ours
    config.data.row_multiple = 2  # ours
    config.data.threads = 2  # ours
    config.features.window = 512  # ours: as the demo
    config.features.stats_seconds = 300.0  # ours: as the demo

    config.optim.lr = 1e-3  # ours
    config.optim.weight_decay = 0.0  # wav2vec 2.0
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.1, 0.4, 0.5  # wav2vec 2.0
    config.optim.final_scale = 0.05  # wav2vec 2.0
    config.train.steps = 1200  # ours
    config.train.log_every = 25  # ours
    config.checkpoint.every = 250  # ours
    config.checkpoint.keep_every = 0  # ours
    config.evaluate.every = 250  # ours
    config.evaluate.batches = 0  # ours: every clip
    config.evaluate.sample_every = 0  # ours: there is nothing to listen to
    config.health.grace_steps = 400  # ours: letters appear after 200
    return config
