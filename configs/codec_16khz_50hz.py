"""A codec for 16 kHz speech: 50 frames a second of 128 numbers (the paper's surface features).

    python -m uniwav_jax.main --config=configs/codec_16khz_50hz.py --workdir=runs/codec \
        --config.data.manifest=PACKED --config.data.eval_manifest=EVAL.tsv
    python tools/export_codec.py runs/codec --out codecs/mine

SEANet with EnCodec's structure and losses, without LSTM: a frame depends on a fraction of a second
around it, so that crops, padded batches and long files give the same latents. :small (the default,
1.9 M parameters) is what two CPU cores can train in an hour or two, far from good; :base wants a
GPU and has not been trained. Values are ours where no source is named: no recipe for this rate is
published. A residual quantiser in place of noise:

    --config.codec.bottleneck=rvq --config.codec.structure.codebooks=16 \
    --config.codec.structure.codewords=256
"""

from uniwav_jax.config import default_config


def get_config(size="small"):
    config = default_config("tiny")
    config.task = "codec"  # ours
    config.codec.structure.update(residual_layers=2, lstm=0)  # ours
    config.codec.structure.update(padding="constant", true_skip=True)  # audiocraft's
    config.features.kind = "waveform"  # ours
    config.features.stats_seconds = 10.0  # ours: they are not used

    config.data.threads = 2  # ours
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9  # EnCodec
    config.optim.weight_decay = 0.0  # ours
    config.optim.clip = 1e9  # ours, none: the balancer sets the scale
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.02, 0.58, 0.4  # ours
    config.flow.ema_decay = 0.999  # ours
    config.health.grace_steps = 500  # ours
    if size == "small":
        config.codec.structure.filters, config.codec.discriminator_filters = 16, 8  # ours
        config.codec.discriminator_windows = (1024, 512, 256)  # ours
        config.data.buckets, config.data.batch_seconds = (0.5,), 4.0  # ours
        config.optim.lr = 1e-3  # ours: three times EnCodec's learns faster at so small batches
        config.train.steps = 2000  # ours
        config.checkpoint.every = 250  # ours
        config.evaluate.update(every=250, sample_every=250, samples=8, batches=4)  # ours
    elif size == "base":
        config.codec.structure.filters, config.codec.discriminator_filters = 48, 32  # ours
        config.data.buckets, config.data.batch_seconds = (1.0,), 64.0  # EnCodec
        config.optim.lr = 3e-4  # EnCodec
        config.train.steps = 200_000  # ours
        config.checkpoint.every = 5000  # ours
        config.evaluate.update(every=5000, sample_every=5000, samples=8, batches=4)  # ours
    else:
        raise ValueError(f"--config=configs/codec_16khz_50hz.py:{size}: give small or base")
    config.data.min_seconds = config.data.buckets[0]  # ours
    return config
