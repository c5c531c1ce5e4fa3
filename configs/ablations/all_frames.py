"""Ablation: the decoder's loss on all frames, and not on the masked ones only.

    uniwav train --config=ablations/all_frames --workdir=runs/all_frames \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, those of `ablations/joint`.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("ablations/joint")
    config.flow.frames = "all"
    return config
