"""A codec for 16 kHz speech: 50 frames per second of 128 channels (the paper's surface features).

    uniwav train --config=codec_16khz_50hz --workdir=runs/codec \
        --config.data.manifest=PACKED --config.data.eval_manifest=EVAL.tsv
    uniwav export --checkpoint runs/codec --out codecs/mine

SEANet with EnCodec's structure and losses, without LSTM: a frame depends on a fraction of a second
around it, so that crops, padded batches and long files give the same latents. :small (the default,
1.9 M parameters) is what two CPU cores can train in an hour or two, far from good; :base needs a
GPU and has not been trained. Values without a source are ours: no recipe for this rate is
published. A residual quantiser in place of noise:

    --config.codec.bottleneck=rvq --config.codec.structure.codebooks=16 \
    --config.codec.structure.codewords=256
"""

from uniwav_jax.config import default_config


def get_config(size="small"):
    config = default_config("tiny")
    config.task = "codec"
    config.codec.structure.update(residual_layers=2, lstm=0)
    config.codec.structure.update(padding="constant", true_skip=True)  # audiocraft's
    config.features.kind = "waveform"
    config.features.stats_seconds = 10.0  # the statistics are not used

    config.data.threads = 2
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9  # EnCodec
    config.optim.weight_decay = 0.0
    config.optim.clip = 0.0  # the balancer sets the scale
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.02, 0.58, 0.4
    config.health.grace_steps = 500
    if size == "small":
        config.codec.structure.filters, config.codec.discriminator_filters = 16, 8
        config.codec.discriminator_windows = (1024, 512, 256)
        config.data.buckets, config.data.batch_seconds = (0.5,), 4.0
        config.optim.lr = 1e-3  # three times EnCodec's: faster with small batches
        config.train.steps = 2000
        config.checkpoint.every = 250
        config.evaluate.update(every=250, sample_every=250, samples=8, batches=4)
    elif size == "base":
        config.codec.structure.filters, config.codec.discriminator_filters = 48, 32
        config.data.buckets, config.data.batch_seconds = (1.0,), 64.0  # EnCodec
        config.optim.lr = 3e-4  # EnCodec
        config.train.steps = 200_000
        config.checkpoint.every = 5000
        config.evaluate.update(every=5000, sample_every=5000, samples=8, batches=4)
    else:
        raise ValueError(f"--config=codec_16khz_50hz:{size}: give small or base")
    config.data.min_seconds = config.data.buckets[0]
    return config
