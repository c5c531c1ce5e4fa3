"""One change of a small joint pretraining, to see what each part of the method is worth.

    uniwav train --config=ablation:no_decoder --workdir=runs/no_decoder \
        --config.data.manifest=TSV --config.data.eval_manifest=TSV
    uniwav sweep ablation:joint ablation:no_decoder --seeds 0,1,2 --out runs/sweep \
        --manifest TSV --eval_manifest TSV

The base, `joint`, is `mini` with the demo's encoder (4 layers of 160) and decoder. Values without a
source are ours, because the paper has no such size. The other names change one thing of it each.
"""

from uniwav_jax.config import recipes

VARIANTS = {
    "joint": {},
    "no_decoder": {"flow.weight": 0.0},
    "lambda_0.25": {"flow.weight": 0.25},
    "lambda_4": {"flow.weight": 4.0},
    "decoder_from_the_start": {"flow.start": 0.0},
    "encoder_2": {"model.encoder.layers": 2, "distillation.top_layers": 2},
    "encoder_8": {"model.encoder.layers": 8},
    "decoder_4": {"model.decoder.layers": 4},
    "teacher": {"distillation.mfcc_until": 0.0, "distillation.mfcc_visible": 0.0},
    "masked_only": {"distillation.mfcc_visible": 0.0},
    "spans_10": {"masking.length": 10, "masking.probability": 0.65},
    "log_mel": {"features.kind": "log_mel"},
}


def get_config(variant="joint"):
    if variant not in VARIANTS:
        raise ValueError(f"there is no ablation {variant!r}; there are {', '.join(VARIANTS)}")
    config, demo = recipes.load("mini"), recipes.load("demo").model
    for part, names in (("encoder", ("layers", "width", "ffn")), ("decoder", ("layers", "ffn"))):
        for name in names:
            config.model[part][name] = demo[part][name]
    config.model.decoder.width = demo.decoder.width
    config.train.steps = 800
    config.evaluate.every = config.checkpoint.every = 400
    config.evaluate.sample_every = 0
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
