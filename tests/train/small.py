"""Configurations of tiny models, and changes that give their parameters another meaning."""

from uniwav_jax.config import default_config, from_dict

SMALL = {
    "features.mel_bands": 8,
    "model.compute_dtype": "float32",
    "model.remat": "none",
    "model.encoder.layers": 2,
    "model.encoder.width": 16,
    "model.encoder.heads": 2,
    "model.encoder.ffn": 24,
    "model.encoder.position_convolutions": 2,
    "model.encoder.position_kernel": 5,
    "model.encoder.position_groups": 2,
    "model.decoder.layers": 2,
    "model.decoder.width": 16,
    "model.decoder.heads": 2,
    "model.decoder.ffn": 24,
    "distillation.top_layers": 2,
    "distillation.codewords": 4,
    "codec.structure.filters": 4,
    "codec.structure.lstm": 0,
    "codec.discriminator_filters": 4,
    "evaluate.sample_every": 0,
    "asr.freeze_steps": 0,
}
ASR = {"task": "asr", "text.symbols": tuple("abc|")}
CODEC = {"task": "codec", "features.kind": "waveform"}


def configuration(changes=None):
    config = default_config("tiny")
    config.update_from_flattened_dict({**SMALL, **(changes or {})})
    return from_dict(config)


# {field: a value that gives the parameters of `configuration()` another meaning}
MEANINGS = {
    "model.encoder.norm": "post",
    "model.encoder.layers": 3,
    "model.encoder.width": 32,
    "model.encoder.heads": 4,
    "model.encoder.ffn": 32,
    "model.encoder.position_convolutions": 1,
    "model.encoder.position_kernel": 3,
    "model.encoder.position_groups": 4,
    "model.decoder.layers": 4,
    "model.decoder.width": 32,
    "model.decoder.heads": 4,
    "model.decoder.ffn": 32,
    "model.decoder.position_kernel": 3,
    "model.decoder.positions": "alibi",
    "flow.context": True,
    "distillation.prediction": "dinosr",
    "distillation.top_layers": 1,
    "distillation.codewords": 8,
    "features.window": 400,
    "features.mel_high": 7000.0,
}
