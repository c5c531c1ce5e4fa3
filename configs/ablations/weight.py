"""Ablation: the weight lambda of the decoder's loss, for example `ablations/weight:0.25`.

    uniwav train --config=ablations/weight:0.25 --workdir=runs/weight \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, those of `ablations/joint`, whose lambda is 1.
"""

from uniwav_jax.config import recipes


def get_config(weight="1"):
    config = recipes.load("ablations/joint")
    config.flow.weight = float(weight)
    return config
