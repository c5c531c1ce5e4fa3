"""Joint pretraining, base size (152.9 M parameters), on LibriSpeech's 960 hours.

The encoder has 12 layers of width 768, as in DinoSR base, and the decoder 6 layers of width 768, as
in UniWav. The global batch of 63 minutes, crops, learning rate, schedule, teacher and masks are
those of DinoSR's recipe. Values without a source are ours.

    bash launch/gpu_run.sh --config=pretrain_base --workdir=runs/base \
        --config.data.manifest=data/librispeech960 --config.data.eval_manifest=data/dev.tsv

Cost (estimate, not measured): 60.7 GFLOP per second of audio x 3800 s x 400k updates = 92 EFLOP;
at 30 % of the bfloat16 peak about 86 H100 hours, or 27 hours on a TPU v5e-16. On fewer devices
raise `config.train.accumulate`.

For comparison: each prediction head reads its own layer, as in SpidR, whose encoder loss on
LibriSpeech dev-clean is 5.57 at the start and 2.70 / 2.39 / 2.11 / 1.66 / 1.35 / 1.29 / 1.13 after
2.5k / 5k / 10k / 20k / 50k / 100k / 400k updates, with a target perplexity of 196 from 20k on.
DinoSR base, whose heads all read the last layer, ends at 1.04 with a perplexity of 159.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("base")
    config.data.row_multiple = 32  # rows can be split over up to 32 devices or microbatches
    config.data.workers = 4
    config.mesh.data, config.mesh.fsdp = -1, 1  # 153 M parameters fit every device

    config.train.steps = 400_000  # DinoSR base
    config.checkpoint.every = 1000
    config.evaluate.every = 5000
    return config
