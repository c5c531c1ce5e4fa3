"""Ablation: the encoder alone, without a decoder and its loss.

    uniwav train --config=ablations/no_decoder --workdir=runs/no_decoder \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, those of `ablations/joint`.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("ablations/joint")
    config.flow.weight = 0.0
    return config
