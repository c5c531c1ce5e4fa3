"""A codec for 16 kHz speech: 50 frames a second of 128 numbers (the paper's surface features).

    python -m uniwav_jax.main --config=configs/codec_16khz_50hz.py --workdir=runs/codec \
        --config.data.manifest=PACKED --config.data.eval_manifest=EVAL.tsv
    python tools/export_codec.py runs/codec --out codecs/mine

SEANet with EnCodec's structure and losses, without LSTM: a frame depends on a fraction of a second
around it, so that crops, padded batches and long files give the same latents. :small (the default)
is for CPUs, :base for a GPU. Values are ours where no source is named: no recipe for this rate is
published.
"""

from uniwav_jax.config import default_config

SIZES = {"small": (16, 16), "base": (48, 32)}  # filters of the codec, of the discriminator


def get_config(size="small"):
    config = default_config("tiny")
    config.task = "codec"  # ours
    filters, discriminator = SIZES[size]
    config.codec.structure.update(filters=filters, residual_layers=2, lstm=0)  # ours
    config.codec.structure.update(padding="constant", true_skip=True)  # audiocraft's
    config.codec.discriminator_filters = discriminator  # ours
    config.features.kind = "waveform"  # ours
    config.features.stats_seconds = 10.0  # ours: they are not used

    config.data.buckets = (1.0,)  # EnCodec: crops of one second
    config.data.min_seconds = 1.0  # ours
    config.data.batch_seconds = 8.0 if size == "small" else 64.0  # EnCodec: 64
    config.data.threads = 2  # ours

    config.optim.lr = 3e-4  # EnCodec
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9  # EnCodec
    config.optim.weight_decay = 0.0  # ours
    config.optim.clip = 1e3  # ours, none: the balancer sets the scale
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.01, 0.59, 0.4  # ours
    config.flow.ema_decay = 0.999  # ours
    config.train.steps = 5000 if size == "small" else 200_000  # ours
    config.checkpoint.every = 500 if size == "small" else 5000  # ours
    config.evaluate.update(every=500, sample_every=500, samples=8, batches=4)  # ours
    config.health.grace_steps = 500  # ours
    return config
