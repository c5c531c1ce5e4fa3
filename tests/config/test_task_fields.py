"""Options of tasks: impossible combinations are named."""

import dataclasses

import pytest

from uniwav_jax.codec.config import MdctConfig, SEANetConfig
from uniwav_jax.config import (
    AsrConfig,
    CodecConfig,
    Config,
    TextConfig,
    TokenizerConfig,
    TtsConfig,
    from_dict,
)
from uniwav_jax.errors import UserError


def refused(config: Config, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        from_dict(dataclasses.asdict(config))
    assert "\n" not in str(error.value)


RECOGNITION = dataclasses.replace(
    Config(),
    task="asr",
    init_from="a pretrained run",
    evaluate=dataclasses.replace(Config().evaluate, sample_every=0),
)
SPEAKING = dataclasses.replace(Config(), task="tts")
TOKENS = dataclasses.replace(
    Config(), task="tokenizer", init_from="a pretrained run", tokenizer=TokenizerConfig(layer=7)
)
CODING = dataclasses.replace(
    Config(), task="codec", features=dataclasses.replace(Config().features, kind="waveform")
)


def test_what_is_changed_here_is_valid():
    for config in (RECOGNITION, CODING, SPEAKING, TOKENS):
        assert from_dict(dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "words"}, "text.units must be one of letters, tokens; got 'words'"),
        ({"lexicon": "cmudict"}, "text.lexicon .* set text.units=tokens too"),
        ({"symbols": ("b", "a", "c", "b", "a")}, "text.symbols .* more than once: a b$"),
    ],
)
def test_text(options, message):
    refused(dataclasses.replace(RECOGNITION, text=TextConfig(**options)), f"config.{message}")


def test_tokens_may_have_a_lexicon():
    text = TextConfig(units="tokens", lexicon="cmudict")
    config = dataclasses.replace(RECOGNITION, text=text)
    assert from_dict(dataclasses.asdict(config)).text == text


def test_recognition():
    refused(dataclasses.replace(RECOGNITION, asr=AsrConfig(layers="all")), "asr.layers .* 'all'")
    untrained = dataclasses.replace(RECOGNITION, init_from="")
    refused(untrained, "asr.freeze_steps .* untrained encoder; name a pretrained run in init_from")
    for fine in (AsrConfig(freeze_steps=0), AsrConfig(frozen=True)):
        from_dict(dataclasses.asdict(dataclasses.replace(untrained, asr=fine)))
    refused(dataclasses.replace(RECOGNITION, evaluate=Config().evaluate), "sample_every must be 0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bottleneck": "vae"},
            "codec.bottleneck must be one of noise, relative_noise, rvq; got 'vae'",
        ),
        ({"bottleneck": "rvq"}, "codec.structure.codebooks must be given for the bottleneck rvq"),
        ({"kind": "opus"}, "codec.kind must be one of seanet, mdct; got 'opus'"),
        ({"kind": "mdct", "mdct": MdctConfig(kernel=4)}, "codec: kernel must be odd; got 4"),
        ({"kind": "mdct", "mdct": MdctConfig(codebooks=2)}, "codec.mdct.codebooks .* only for it"),
        ({"structure": SEANetConfig(codebooks=4)}, "codec.structure.codebooks .* and only for it"),
        ({"structure": SEANetConfig(sample_rate=24000)}, r"sample_rate \(24000\) .* \(16000\)"),
        ({"structure": SEANetConfig(kernel=6)}, "codec: kernel must be odd"),
        ({"fine_noise": -0.5}, r"codec.fine_noise must not be negative; got -0\.5"),
    ],
)
def test_codec(options, message):
    refused(dataclasses.replace(CODING, codec=CodecConfig(**options)), message)


def test_a_codec_is_trained_on_waveforms():
    features = dataclasses.replace(CODING.features, kind="log_mel")
    refused(dataclasses.replace(CODING, features=features), "features.kind must be waveform")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_low": 0.9, "mask_high": 0.8}, r"mask_low and tts.mask_high .* got 0\.9, 0\.8"),
        ({"mask_low": 0.0}, "mask_low"),
        ({"drop": 1.0}, r"drop must be at least 0 and below 1; got 1\.0"),
        ({"prompt_drop": -0.1}, "prompt_drop"),
        ({"duration_dropout": 1.5}, "duration_dropout"),
        ({"duration_layers": 0}, "duration_layers"),
        ({"duration_width": 100}, "duration_layers .* got 3, 100"),
        ({"duration_weight": -1.0}, "duration_weight"),
        ({"phones": ("AH", "T", "AH")}, "phones contains these more than once: AH"),
    ],
)
def test_speech_synthesis(options, message):
    refused(dataclasses.replace(SPEAKING, tts=TtsConfig(**options)), f"config.tts.{message}")


def test_speech_synthesis_needs_frames():
    features = dataclasses.replace(Config().features, kind="waveform")
    refused(dataclasses.replace(SPEAKING, features=features), "features.kind must not be waveform")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 13}, "tokenizer.layer must lie between 0 and 12, or be -1; got 13"),
        ({"layer": -1}, "tokenizer.layer=-1 needs tokenizer.units"),
        ({"books": 0}, "tokenizer.books must be at least 1; got 0"),
        ({"codewords": 1}, "tokenizer.codewords must be at least 2"),
        ({"levels": (8, 1, 128)}, r"tokenizer.levels must be numbers of .* 2; got \(8, 1, 128\)"),
        (
            {"levels": (8, 5, 5, 5)},
            "tokenizer.codewords must be 1000, the product of tokenizer.levels; got 1024",
        ),
        ({"rounds": -1}, "tokenizer.rounds must be at least 0"),
        ({"decay": 1.0}, "tokenizer.decay must be at least 0 and below 1; got 1.0"),
        (
            {"drop": 0.5, "first_book": 0.6},
            r"drop \+ unquantised \+ first_book .* got 1.3",
        ),
        ({"books": 9, "later": 0.2}, "tokenizer.later = 0.2 starts book 9 after the end"),
        ({"commitment": -1.0}, "tokenizer.commitment must not be negative"),
        ({"ctc": -1.0}, "tokenizer.ctc must not be negative; got -1.0"),
        ({"ctc": 0.1, "fixed_codes": True}, "tokenizer.ctc trains .* tokenizer.fixed_codes keeps"),
        ({"mask_low": 0.9, "mask_high": 0.5}, "tokenizer.mask_low and .* got 0.9, 0.5"),
    ],
)
def test_tokens_of_speech(options, message):
    options = dataclasses.replace(TOKENS.tokenizer, **options)
    refused(dataclasses.replace(TOKENS, tokenizer=options), message)


def test_tokens_of_speech_need_a_pretrained_run():
    refused(dataclasses.replace(TOKENS, init_from=""), "init_from must name a pretrained run")
    waveform = dataclasses.replace(TOKENS.features, kind="waveform")
    refused(dataclasses.replace(TOKENS, features=waveform), "must not be waveform for task token")
