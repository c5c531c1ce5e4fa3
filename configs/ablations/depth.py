"""Ablation: layers of encoder and decoder, for example `ablations/depth:8x4`; x0: no decoder.

    uniwav train --config=ablations/depth:8x4 --workdir=runs/depth \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, those of `ablations/joint`, whose depths are 4x2.
"""

from uniwav_jax.config import recipes


def get_config(depths="4x2"):
    config = recipes.load("ablations/joint")
    encoder, decoder = (int(depth) for depth in depths.split("x"))
    config.model.encoder.layers = encoder
    config.distillation.top_layers = min(config.distillation.top_layers, encoder)
    if decoder:
        config.model.decoder.layers = decoder
    else:
        config.flow.weight = 0.0
    return config
