"""Text-to-speech from an ablation's encoder and decoder, by which `uniwav sweep` judges it.

    uniwav train --config=ablations/tts --workdir=runs/tts --config.init_from=runs/joint \
        --config.flow.context=False --config.model.decoder.layers=2 \
        --config.model.decoder.width=128 --config.model.decoder.ffn=340 \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV

The manifests have phones (`uniwav data phones`). Values without a source are ours, those of
`tts_demo`; the sweep takes the sizes from the run that it judges.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("tts_demo")
    config.train.steps = 1500
    config.evaluate.every = 1500
    config.evaluate.sample_every = 0
    return config
