"""Joint pretraining with the whole method, in ten minutes on two CPU cores.

    uniwav train --config=demo --workdir=runs/demo \
        --config.data.manifest=data/asterisk/packed \
        --config.data.eval_manifest=data/asterisk/eval.tsv

`bash launch/quickstart.sh` runs this after it prepared environment and speech. docs/results.md in
the repository shows the results of these settings on LibriSpeech after 2500 updates. Values without
a source are ours, because the paper has no such size. Three of them were selected by short runs
with one seed, on other speakers than those of the results:

- Spans of 2 frames were better than spans of 4. We suppose that a model cannot learn to fill longer
  spans in so few updates.
- The horizon of the teacher's average is the number of updates until the teacher stops, 500 of
  1000, so 37 % of its first weights remain. With DinoSR's shares (horizons of 3 to 25 updates) the
  targets collapsed: the perplexity of the 256 codewords fell to 10, and the states corresponded
  less to phones (PNMI 0.340 instead of 0.364). With a horizon of 100 updates the perplexity was 18.
  We suppose that the random first weights keep the targets apart until the student has learned
  better ones.
- Codebooks with decay 0.99 were better than with 0.9, and the encoder loss rose less after its
  minimum: by 0.13 nats instead of 0.47. We suppose that with decay 0.9 batches of 320 masked frames
  move codewords too far.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.model.encoder.update(dropout=0.1, attention_dropout=0.1, layer_drop=0.05)  # DinoSR base
    config.model.compute_dtype = "float32"  # CPUs have no fast bfloat16
    config.model.remat = "none"  # memory is no concern at this size

    config.data.batch_seconds = 16.0
    config.data.buckets = (2.0,)  # compilation takes some ten seconds per bucket
    config.data.min_seconds = 1.0  # telephone prompts are short
    config.data.threads = 2
    config.features.kind = "codec"
    # For features.kind=log_mel: 32 ms, because shorter windows overlap too little for Griffin-Lim.
    config.features.window = 512
    config.features.stats_seconds = 300.0

    config.masking.length, config.masking.probability = 2, 0.5  # see above
    config.distillation.codebook_decay = 0.99  # see above
    config.distillation.codebook_init = "frames"  # with noise few codewords are ever used
    config.distillation.teacher_horizon_start = 1.0  # see above
    config.distillation.teacher_horizon_end = 1.0  # see above

    config.optim.lr = 1e-3  # the run is short and the model small
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
