"""Recognition from an ablation's encoder, by which `uniwav sweep` judges it.

    uniwav train --config=ablations/asr --workdir=runs/asr --config.init_from=runs/joint \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, those of `asr_demo`.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("asr_demo")
    config.train.steps = 400
    config.evaluate.every = 400
    return config
