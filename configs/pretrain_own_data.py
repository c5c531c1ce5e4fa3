"""Joint pretraining on your own recordings: copy this file and change the marked lines.

    uniwav data manifest FOLDER --out data/mine/manifest.tsv --eval_out data/mine/eval.tsv
    uniwav data check data/mine/manifest.tsv
    uniwav data pack data/mine/manifest.tsv --out data/mine/packed
    bash launch/gpu_run.sh --config=pretrain_own_data --workdir=runs/mine

The size "tiny" is for a test on CPU, "small" for up to a few hundred hours on one GPU, "base" from
about a thousand hours, "large" from tens of thousands. A run takes about (GFLOP per second of
audio, printed at the start) x batch_seconds x steps / (peak FLOP/s x 0.3), which is an estimate,
not measured. Values without a source are ours.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("small")  # change: tiny, small, base, large

    config.data.manifest = "data/mine/packed"  # change; "a/packed,b/packed" mixes several
    config.data.weights = ""  # change: shares of the audio, "0.7,0.3"; empty: by size
    config.data.eval_manifest = "data/mine/eval.tsv"  # change

    # Seconds of audio per update. If memory runs out, halve it, or keep it and double
    # train.accumulate. For much smaller batches use the masks of the config demo.
    config.data.batch_seconds = 800.0
    config.data.buckets = (4.0, 8.0, 12.0, 16.0)  # the last one is the longest crop
    config.data.min_seconds = 2.0  # DinoSR has crops of 2-20 s; lower it for short recordings
    config.data.workers = 4

    config.optim.lr = 5e-4  # DinoSR base
    config.train.steps = 50_000  # some 10-100 passes over the data
    config.checkpoint.every = 1000
    config.evaluate.every = 1000
    config.evaluate.sample_every = 5000
    return config
