"""Text-to-speech from a pretrained encoder and decoder, as in the paper (LibriSpeech, 960 hours).

`--config=tts_librispeech:large` takes the large model, which is the paper's.

    uniwav train --config=tts_librispeech --workdir=runs/tts \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The manifests have phones (`uniwav data phones`). Values without a source are ours, and the model of
durations is ours too. We have not trained it. `--config.features` must be those of pretraining.
"""

from uniwav_jax.config import default_config


def get_config(size="base"):
    config = default_config(size)
    config.task = "tts"
    config.tts.mask_low, config.tts.mask_high = 0.7, 1.0  # paper
    config.tts.drop = 0.2  # paper
    config.tts.duration_layers, config.tts.duration_width = 4, 256
    config.data.batch_seconds = 3800.0  # as in pretraining
    config.data.buckets = (4.0, 8.0, 12.0, 16.0, 20.0)
    config.optim.lr = 5e-5  # paper
    config.optim.warmup, config.optim.hold, config.optim.decay = 0.03, 0.0, 0.97
    config.optim.final_scale = 0.2  # to 1e-5 (paper)
    config.train.steps = 150_000  # paper
    config.flow.solver, config.flow.sample_steps, config.flow.sway = "euler", 32, -1.0
    config.flow.guidance = 0.7  # paper
    config.checkpoint.every = 2000
    config.evaluate.every = 5000
    return config
