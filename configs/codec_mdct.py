"""The codec that ships with the package: 16 kHz speech, 50 frames per second of 128 channels.

    uniwav train --config=codec_mdct --workdir=runs/codec \
        --config.data.manifest=PACKED --config.data.eval_manifest=EVAL.tsv
    uniwav export --checkpoint runs/codec --out codecs/mine

Networks at frame rate work around an analytic path of an MDCT (uniwav_jax/codec/mdct.py), so that
the codec is usable after minutes on one CPU core. Noise on the latents makes small errors of a
model that generates them inaudible. Values without a source are ours.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("tiny")
    config.task = "codec"
    config.codec.kind = "mdct"
    config.codec.bottleneck, config.codec.noise = "relative_noise", 0.5
    config.codec.update(wave_share=0.0, mel_share=0.0, adversarial_share=0.0, features_share=0.0)
    config.codec.spectrum_share = 1.0
    config.features.kind = "waveform"
    config.features.stats_seconds = 10.0  # the statistics are not used

    config.data.threads = 1
    config.data.buckets, config.data.batch_seconds = (1.0,), 8.0
    config.data.min_seconds = 1.0
    config.optim.beta1, config.optim.beta2 = 0.8, 0.99
    config.optim.lr, config.optim.weight_decay = 1e-3, 0.0
    config.optim.clip = 0.0  # the balance of losses already normalises the gradient
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.02, 0.38, 0.6
    config.health.grace_steps = 500
    config.train.steps = 8000
    config.train.log_every = 50
    config.checkpoint.every = 500
    config.evaluate.update(every=1000, sample_every=1000, samples=8, batches=8)
    return config
