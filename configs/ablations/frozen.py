"""Ablation: a decoder on the frozen encoder of a run of `ablations/no_decoder`.

    uniwav train --config=ablations/frozen --workdir=runs/frozen \
        --config.init_from=runs/no_decoder \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Encoder and decoder are trained for as many updates each as in `ablations/joint`, but not jointly.
Values without a source are ours, those of that config.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("ablations/joint")
    config.flow.encoder_frozen = True
    config.init_parts = "encoder,heads"
    return config
