"""Ablation: the layer of speech tokens, for example `ablations/tokenizer:3`.

    uniwav train --config=ablations/tokenizer:3 --workdir=runs/tokenizer \
        --config.init_from=runs/joint \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

The encoder is that of a run of `ablations/joint`; 0 is the first layer's input. Values without a
source are ours, those of that config and of `tokenizer_demo`.
"""

from uniwav_jax.config import recipes


def get_config(layer="2"):
    config = recipes.load("ablations/joint")
    config.task = "tokenizer"
    config.tokenizer = recipes.load("tokenizer_demo").tokenizer
    config.tokenizer.layer = int(layer)
    return config
