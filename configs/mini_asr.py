"""Recognition from the model `mini`, for CPUs.

    uniwav train --config=mini_asr --workdir=runs/asr \
        --config.init_from=mini --config.data.manifest=TSV --config.data.eval_manifest=TSV

Values without a source are ours, because no publication has such a size.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("asr_demo")
    mini = recipes.load("mini").model.encoder
    config.model.encoder.layers, config.model.encoder.width = mini.layers, mini.width
    config.model.encoder.heads, config.model.encoder.ffn = mini.heads, mini.ffn
    config.asr.time_mask = 0.2
    config.optim.lr = 5e-4
    config.train.steps = 2000
    return config
