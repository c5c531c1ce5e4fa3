"""Joint pretraining of a model of 10 M parameters on a few hours of speech, for CPUs.

    uniwav train --config=mini --workdir=runs/mini --config.data.manifest=TSV \
        --config.data.eval_manifest=TSV

Values without a source are ours, because the paper has no such size; docs/results.md in the
repository shows what they give. At this scale a random teacher's targets mean little, so the
targets are clusters of MFCCs (HuBERT's first iteration) to the end, normalised in each row as the
teacher's targets are. They are predicted at visible frames too, and the decoder is trained in the
second half of the run, when z is worth reading.
"""

from uniwav_jax.config import recipes


def get_config():
    config = recipes.load("demo")
    config.model.encoder.layers, config.model.encoder.width = 6, 256
    config.model.encoder.ffn, config.model.encoder.layer_drop = 1024, 0.0
    config.model.decoder.layers, config.model.decoder.width = 4, 256
    config.model.decoder.ffn = 680
    config.data.batch_seconds = 32.0
    config.data.buckets = (4.0,)
    config.masking.length, config.masking.probability = 3, 0.5
    config.distillation.mfcc_until = 1.0
    config.distillation.mfcc_visible = 1.0
    config.distillation.codebook_dead = 0.1
    config.flow.context = True
    config.flow.start = 0.5
    config.train.steps = 2000
    config.checkpoint.every = 500
    config.evaluate.every = 500
    config.evaluate.sample_every = 2000
    return config
