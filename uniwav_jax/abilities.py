"""Which methods of `api.Model` a checkpoint has, and how to get one that has a method."""

from uniwav_jax import tasks

ENCODER, CODEC = {"encode", "features"}, {"encode_latents", "decode_latents"}
RECOGNITION, SPEECH = {"transcribe", "align"}, {"speak"}
TOKENS = {"tokenize", "detokenize", "resynthesize", "convert"}
PRETRAIN = "pretrain one: uniwav train --config=demo (or pretrain_base, pretrain_large) ..."
FINE_TUNE = (
    "fine-tune one for recognition: uniwav train --config=asr_demo (or asr_1h, asr_10h, asr_100h,"
    " asr_960h) --config.init_from=PRETRAINED ..."
)
SYNTHESIS = (
    "train one for speech synthesis: uniwav train --config=tts_demo (or tts_librispeech) ..."
)
TOKENIZER = (
    "train one for speech tokens: uniwav train --config=tokenizer_demo (or tokenizer_500bps,"
    " tokenizer_1kbps) --config.init_from=PRETRAINED ..."
)
CODECS = "import a codec, or train one: uniwav train --config=codec_16khz_50hz ..."
TRAINED_BY = {
    **dict.fromkeys(ENCODER, PRETRAIN),
    **dict.fromkeys(RECOGNITION, FINE_TUNE),
    **dict.fromkeys(SPEECH, SYNTHESIS),
    **dict.fromkeys(TOKENS, TOKENIZER),
    **dict.fromkeys(CODEC, CODECS),
}


def of_task(name: str) -> set[str]:
    """The methods that a checkpoint of a task has; codec features bring the codec's as well."""
    task = tasks.get(name)
    found = set(ENCODER) if "encoder" in task.parts else set()
    found |= RECOGNITION if task.logits else set()
    found |= SPEECH if "phones" in task.parts else set()
    found |= TOKENS if "tokens" in task.parts else set()
    return found | (CODEC if "generator" in task.parts else set())
