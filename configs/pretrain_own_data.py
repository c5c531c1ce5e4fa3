"""Joint pretraining on your own recordings: copy this file and change what is marked.

    uniwav data manifest FOLDER --out data/mine/manifest.tsv --eval_out data/mine/eval.tsv
    uniwav data check data/mine/manifest.tsv
    uniwav data pack data/mine/manifest.tsv --out data/mine/packed
    bash launch/gpu_run.sh --config=pretrain_own_data --workdir=runs/mine

Sizes: "tiny" for a try on CPU, "small" up to a few hundred hours and one GPU, "base" from about
a thousand hours, "large" from tens of thousands. Cost: about (GFLOP per second of audio, printed
at the start) x batch_seconds x steps / (peak FLOP/s x 0.3); an estimate, not measured. Values
without a source are ours.
"""

from uniwav_jax.config import default_config


def get_config():
    config = default_config("small")  # change: tiny, small, base, large

    config.data.manifest = "data/mine/packed"  # change. Several, mixed: "a/packed,b/packed"
    config.data.weights = ""  # change: shares of the audio, "0.7,0.3"; empty: natural shares
    config.data.eval_manifest = "data/mine/eval.tsv"  # change

    # Seconds of audio in one update. Halve it when memory runs out, or keep it and double
    # train.accumulate. For much smaller batches take the masks of the config demo.
    config.data.batch_seconds = 800.0
    config.data.buckets = (4.0, 8.0, 12.0, 16.0)  # the last one is the longest crop
    config.data.min_seconds = 2.0  # DinoSR: crops of 2-20 s; lower it for short recordings
    config.data.workers = 4

    config.optim.lr = 5e-4  # DinoSR base
    config.train.steps = 50_000  # some 10-100 passes over the data
    config.checkpoint.every = 1000
    config.evaluate.every = 1000
    config.evaluate.sample_every = 5000
    return config
