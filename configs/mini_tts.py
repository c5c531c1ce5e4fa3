"""Text-to-speech from the model `mini`, for CPUs.

    uniwav train --config=mini_tts --workdir=runs/tts --config.init_from=runs/mini \
        --config.init_parts=encoder,decoder \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

The manifests have phones (`uniwav data phones`). Values without a source are ours, because the
paper has no such size. `--config.features` must be those of pretraining.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("mini")
    config.task = "tts"
    config.flow.start = 0.0
    config.flow.stratified = True
    config.flow.guidance = 1.5
    config.flow.temperature = 0.7
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 16, -1.0
    config.train.steps = 2600
    return config
