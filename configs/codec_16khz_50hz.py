"""A codec for 16 kHz speech: 50 frames per second of 128 channels (the paper's surface features).

    uniwav train --config=codec_16khz_50hz --workdir=runs/codec \
        --config.data.manifest=PACKED --config.data.eval_manifest=EVAL.tsv
    uniwav export --checkpoint runs/codec --out codecs/mine

It is SEANet with EnCodec's structure and losses, but without LSTM: a frame depends only on a
fraction of a second of audio, so crops, padded batches and long files have the same latents. Two
CPU cores train :small (the default, 1.9 M parameters) in an hour or two, with low quality; :base
needs a GPU and has not been trained. Values without a source are ours, because no recipe for this
rate is published. A residual quantiser can replace the noise on the latents:

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
    config.optim.clip = 0.0  # the balance of losses already normalises the gradient
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.02, 0.58, 0.4
    config.health.grace_steps = 500
    if size == "small":
        config.codec.structure.filters, config.codec.discriminator_filters = 16, 8
        config.codec.discriminator_windows = (1024, 512, 256)
        config.data.buckets, config.data.batch_seconds = (0.5,), 4.0
        config.optim.lr = 1e-3  # three times EnCodec's, which is faster with small batches
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
