"""Joint pretraining of a tiny model in 800 updates, with which the other ablations are compared.

    uniwav train --config=ablations/joint --workdir=runs/joint \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

The model is that of `demo` and the targets are those of `mini`, clusters of MFCCs to the end. The
decoder is trained from the first update on and does not read the visible frames, as in the paper,
so that all it knows comes through the encoder. Values without a source are ours.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("demo")
    mini = recipes.load("mini")
    config.masking, config.distillation = mini.masking, mini.distillation
    config.model.encoder.layer_drop = 0.0  # as in mini
    config.train.steps = 800
    config.checkpoint.every, config.evaluate.every = 200, 400
    config.evaluate.sample_every = 0
    return config
