"""Joint pretraining, large size (532.9 M parameters), on LibriLight's 60 000 hours: the paper's.

As in UniWav, the encoder has 24 layers of width 1024 and the decoder 12, a run has 600k updates of
63 minutes of audio, and the surface features are latents of a codec, here the installed one. Values
without a source are ours.

    bash launch/tpu_run.sh --name=uniwav --zone=ZONE --type=v5litepod-64 -- \
        --config=pretrain_large --workdir=gs://BUCKET/runs/large \
        --config.data.manifest=gs://BUCKET/librilight --config.data.eval_manifest=gs://BUCKET/dev.tsv

Cost (estimate, not measured): 203 GFLOP per second of audio x 3800 s x 600k updates = 462 EFLOP;
at 35 % of the bfloat16 peak about 370 H100 hours or 1900 TPU v5e chip hours (30 h on 64 chips).
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("large")
    config.data.row_multiple = 64  # rows can be split over up to 64 devices; 128 or 256 for more
    config.data.workers = 8
    # Four devices share parameters and moments, which need 8 GB. More devices would save little
    # memory and load the network of a pod: compiled for 256 TPU chips, XLA replaces the all-gathers
    # with all-reduces.
    config.mesh.data, config.mesh.fsdp, config.mesh.fsdp_most = 1, -1, 4

    config.train.steps = 600_000
    config.checkpoint.every = 1000
    config.evaluate.every = 5000
    return config
