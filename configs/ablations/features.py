"""Ablation: surface features; `ablations/features:log_mel`, or `:` and the folder of a codec.

    uniwav train --config=ablations/features:log_mel --workdir=runs/features \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

`uniwav import codec` makes folders of Lyra and others. Values without a source are ours, those of
`ablations/joint`, which has the latents of the codec that ships.
"""

from uniwav_jax.config import recipes


def get_config(features="codec"):
    config = recipes.load("ablations/joint")
    config.features.kind = "log_mel" if features == "log_mel" else "codec"
    if features != "log_mel":
        config.features.codec = features
    return config
