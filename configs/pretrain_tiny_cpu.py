"""Joint pretraining that shows on two CPU cores, within the hour, that the method learns phones.

    python -m uniwav_jax.main --config=configs/pretrain_tiny_cpu.py --workdir=runs/tiny \
        --config.data.manifest=data/mine/packed --config.data.eval_manifest=data/mine/eval.tsv

Hours of speech of many speakers and some 64 000 s of audio in 4000 small updates. What it reached,
with the command that measured it: benchmarks/results/. All values below are ours: the paper has no
such size. Two of them make the difference to the demo's settings:

- Spans of 2 frames. So few updates do not teach what a span of 10 frames (two or three phones)
  hides; what can be told of it is slow, such as loudness, and codewords come to mean that. A phone
  that is hidden in part can be told from the rest of it.
- A teacher that is slow in all its parts. Copied positions make it as fast as the student.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.model.encoder.update(layers=4, width=160, heads=4, ffn=640)  # ours
    config.model.encoder.update(dropout=0.1, attention_dropout=0.1, layer_drop=0.05)  # DinoSR base
    config.model.decoder.update(layers=2, width=128, heads=4, ffn=340)  # ours
    config.model.compute_dtype = "float32"  # ours: CPUs have no fast bfloat16
    config.model.remat = "none"  # ours: memory is no concern at this size

    config.data.batch_seconds = 16.0  # ours: many small updates teach more here than few large ones
    config.data.buckets = (2.0,)  # ours
    config.data.min_seconds = 1.0  # ours
    config.data.threads = 2  # ours
    config.features.window = 400  # ours: 25 ms, too short to resolve a voice's harmonics
    config.features.stats_seconds = 300.0  # ours

    config.masking.length, config.masking.probability = 2, 0.5  # ours, see above
    config.distillation.top_layers = 3  # ours
    config.distillation.codebook_init = "frames"  # ours: small batches
    config.distillation.teacher_positions = "averaged"  # ours, see above
    config.distillation.teacher_decay_start = 0.9998  # ours: a fifth of the run
    config.distillation.teacher_decay_end = 0.9998  # ours
    config.distillation.teacher_stop = 1.0  # ours

    config.optim.lr = 1e-3  # ours
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.05, 0.45, 0.5  # ours
    config.train.steps = 4000  # ours
    config.train.log_every = 50  # ours
    config.checkpoint.every = 500  # ours
    config.checkpoint.keep_every = 0  # ours
    config.evaluate.every = 500  # ours
    config.evaluate.sample_every = 2000  # ours
    config.health.grace_steps = 1000  # ours
    return config
