"""Joint pretraining, base size (152.9 M parameters), on LibriSpeech's 960 hours.

Encoder 12 layers of width 768 as DinoSR base, decoder 6 layers of width 768 (UniWav, section 4).
The global batch of 63 minutes, learning rate, schedule and masks are the published ones.

    bash launch/gpu_run.sh --config=configs/pretrain_base.py --workdir=runs/base \
        --config.data.manifest=data/librispeech960 --config.data.eval_manifest=data/dev.tsv

Cost (estimate, not measured): 60.7 GFLOP per second of audio x 3800 s x 400k updates = 92 EFLOP;
at 30 % of the bfloat16 peak about 86 H100 hours, or 27 hours on a TPU v5e-16. On fewer devices
raise `config.train.accumulate`. DinoSR base reaches an encoder loss of 1.04 after 400k updates.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("base")
    config.data.row_multiple = 32  # ours: divides over up to 32 devices or microbatches
    config.data.workers = 4  # ours
    config.mesh.data, config.mesh.fsdp = -1, 1  # ours: 153 M parameters fit every device

    config.train.steps = 400_000  # DinoSR base
    config.checkpoint.every = 1000  # ours
    config.evaluate.every = 5000  # ours
    return config
