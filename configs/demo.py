"""Joint pretraining small enough for two CPU cores: the whole method on real speech in ten minutes.

    uniwav train --config=demo --workdir=runs/demo \
        --config.data.manifest=data/asterisk/packed \
        --config.data.eval_manifest=data/asterisk/eval.tsv

`bash launch/quickstart.sh` does this and everything before it. docs/results.md in the repository
shows what these settings learned on LibriSpeech in 2500 updates. Values without a source are ours:
the paper has no such size. Three come from short runs with one seed, on other speakers than the
results:

- Spans of 2 frames did better than spans of 4. We suppose that so few updates do not teach the
  model to fill longer spans.
- The teacher's horizon is as long as its life, 500 of 1000 updates, and 37 % of its first weights
  remain. With DinoSR's shares (horizons of 3 to 25 updates) the targets collapsed: the perplexity
  of the 256 codewords fell to 10, and the states corresponded less to phones (PNMI 0.340, with 500
  updates 0.364); with 100 updates the perplexity was 18. We suppose that the random first weights
  keep the targets apart until the student has learned better ones.
- Codebooks with decay 0.99 did better than with 0.9, and the encoder loss rose less after its best
  value: by 0.13 nats, with 0.9 by 0.47. We suppose that 320 masked frames move codewords too far at
  0.9.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.model.encoder.update(dropout=0.1, attention_dropout=0.1, layer_drop=0.05)  # DinoSR base
    config.model.compute_dtype = "float32"  # CPUs have no fast bfloat16
    config.model.remat = "none"  # memory is no concern at this size

    config.data.batch_seconds = 16.0
    config.data.buckets = (2.0,)  # each bucket is compiled once, some ten seconds
    config.data.min_seconds = 1.0  # telephone prompts are short
    config.data.threads = 2
    config.features.window = 512  # 32 ms: shorter windows overlap too little for Griffin-Lim
    config.features.stats_seconds = 300.0

    config.masking.length, config.masking.probability = 2, 0.5  # see above
    config.distillation.codebook_decay = 0.99  # see above
    config.distillation.codebook_init = "frames"  # from noise few codewords come into use
    config.distillation.teacher_horizon_start = 1.0  # see above
    config.distillation.teacher_horizon_end = 1.0  # see above

    config.optim.lr = 1e-3  # short run, small model
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.05, 0.45, 0.5
    config.train.steps = 1000
    config.train.log_every = 25
    config.checkpoint.every = 250
    config.checkpoint.keep_every = 0
    config.evaluate.every = 250
    config.evaluate.batches = 8
    config.evaluate.sample_every = 500
    config.health.grace_steps = 200
    return config
