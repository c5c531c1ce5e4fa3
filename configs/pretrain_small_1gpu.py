"""Joint pretraining of a small model (33.7 M parameters) on one GPU, on tens to hundreds of hours.

Its size is between the demo and the paper, with 12 encoder layers of width 384. It is for checking
a corpus or an idea within a day. Values without a source are ours.

    bash launch/gpu_run.sh --config=pretrain_small_1gpu --workdir=runs/small \
        --config.data.manifest=data/packed --config.data.eval_manifest=data/eval.tsv

Cost (estimate, not measured): 16.3 GFLOP per second of audio x 800 s x 50k updates = 0.65 EFLOP;
at 20 % of an H100's bfloat16 peak about an hour. Needs about 20 GB of GPU memory (estimate).
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("small")
    config.model.remat = "dots"  # saves the results of matmuls; "full" needs less memory

    config.data.batch_seconds = 800.0  # a fifth of base's batch fits one GPU
    config.data.buckets = (4.0, 8.0, 12.0, 16.0)  # crops up to 16 s
    config.data.workers = 4

    config.optim.lr = 5e-4  # DinoSR base

    config.train.steps = 50_000
    config.checkpoint.every = 1000
    config.evaluate.every = 1000
    config.evaluate.sample_every = 5000
    return config
