"""UniWav for `transformers`: AutoModel and AutoModelForCTC with trust_remote_code=True.

A model of speech tokens also has `encode` and `decode` with the arguments and shapes of MimiModel.

Inputs are those of Wav2Vec2: `input_values` [B, S], waveforms in [-1, 1] or int16, padded at their
ends, and `attention_mask` [B, S], 1 on real samples. Features are computed inside, in float32.
"""

import dataclasses
from typing import Any

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.utils import ModelOutput

from .configuration_uniwav import UniWavConfig
from .uniwav_model import Networks, Output

LEAST = -1e4  # the score of a symbol that is impossible


class UniWavPreTrainedModel(Networks, PreTrainedModel):
    """The networks as a model of `transformers`; see `uniwav_model.Networks` for more methods."""

    config_class = UniWavConfig
    main_input_name = "input_values"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ("features", "tokens", "durations")

    def __init__(self, config: UniWavConfig) -> None:
        super().__init__(config)
        self._build(config.uniwav)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Keep PyTorch's own initialisation, because models are trained in uniwav_jax."""

    def _encode_audio(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> Output:
        if attention_mask is None:
            return self.run(input_values)
        real = attention_mask.bool()
        if not torch.compiler.is_compiling() and (real[:, 1:] & ~real[:, :-1]).any():
            raise ValueError("attention_mask has zeros before ones: pad waveforms on the right")
        return self.run(input_values.masked_fill(~real, 0), real.sum(-1))


@dataclasses.dataclass
class UniWavEncoderOutput(ModelOutput):
    """Codes of speech, int64 [B, books, frames]."""

    audio_codes: torch.Tensor | None = None


@dataclasses.dataclass
class UniWavDecoderOutput(ModelOutput):
    """Speech, float32 [B, 1, S] in [-1, 1]."""

    audio_values: torch.Tensor | None = None


class UniWavModel(UniWavPreTrainedModel):
    """The encoder; `sample`, `codes` and `teacher_codes` use the other exported parts."""

    def encode(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> UniWavEncoderOutput | tuple:
        """Speech to tokens; the arguments are those of MimiModel.encode.

        Args:
            input_values: [B, 1, S] or [B, S], waveforms in [-1, 1], padded at their ends.
            padding_mask: [B, S] or [B, 1, S], 1 on real samples; None: all of them.
            num_quantizers: number of books; None: all.
            return_dict: False gives a tuple.
        """
        audio_BxS = input_values.flatten(1) if input_values.dim() == 3 else input_values
        samples_B = None
        if padding_mask is not None:
            real = padding_mask.flatten(1).bool()
            audio_BxS, samples_B = audio_BxS.masked_fill(~real, 0), real.sum(-1)
        codes = self.tokenize(audio_BxS, samples_B)[:, :num_quantizers]
        return UniWavEncoderOutput(codes) if return_dict is not False else (codes,)

    def decode(
        self,
        audio_codes: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        *,
        prompt: torch.Tensor | None = None,
        **settings: Any,
    ) -> UniWavDecoderOutput | tuple:
        """Tokens to speech; the positional arguments are MimiModel.decode's without its cache.

        Args:
            audio_codes: int64 [B, books, T].
            padding_mask: as for `encode`; the result has as many samples, and silence after the end
                of each row.
            return_dict: False gives a tuple.
            prompt: normalised features [B, P, C] of the voice; None: a voice from noise.
            settings: of `detokenize`: generator, noise_BxTxC, steps, guidance, temperature, ...
        """
        frames_B = None
        if padding_mask is not None:
            real = padding_mask.flatten(1).bool()
            frames_B = (real.sum(-1) + self.features.hop - 1) // self.features.hop
        wave = self.detokenize(audio_codes, prompt, frames_B=frames_B, **settings)
        if padding_mask is not None:
            wave = F.pad(wave, (0, max(real.shape[1] - wave.shape[1], 0)))[:, : real.shape[1]]
            wave = wave.masked_fill(~real, 0)
        wave = wave[:, None]
        return UniWavDecoderOutput(wave) if return_dict is not False else (wave,)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple:
        """Encode a batch; the arguments are those of Wav2Vec2Model.

        Returns:
            The last hidden state [B, T, D] and, with `output_hidden_states`, h_0 .. h_L.
        """
        output = self._encode_audio(input_values, attention_mask)
        result = BaseModelOutput(
            last_hidden_state=output.encoded.final,
            hidden_states=_states(self, output, output_hidden_states),
        )
        return result if return_dict is not False else result.to_tuple()


class UniWavForCTC(UniWavPreTrainedModel):
    """The recogniser: logits of the symbols and, with `labels`, the CTC loss."""

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple:
        """Recognise a batch; the arguments are those of Wav2Vec2ForCTC.

        Labels are int64 [B, U], -100 after the end of each text.

        Returns:
            Logits, float32 [B, T, V + 1], where token 0 is the blank; and with labels the loss.

        Raises:
            ValueError: a label is the blank or no symbol, or see `uniwav_features.check_audio`.
        """
        output = self._encode_audio(input_values, attention_mask)
        logits, loss = self.logits(output.encoded), None
        # Padded frames are the blank, so that a batch has the texts of its clips alone.
        blank = logits.new_full(logits.shape[-1:], LEAST)
        blank[0] = 0.0
        logits = torch.where(output.frame_mask[..., None], logits, blank)
        if labels is not None:
            wrong = (labels == 0) | (labels >= logits.shape[-1])
            if not torch.compiler.is_compiling() and wrong.any():
                raise ValueError(
                    f"labels are 1 to {logits.shape[-1] - 1}, and -100 after each text; 0 is the"
                    " blank, which the tokenizer gives for symbols that vocab.json lacks, such as"
                    " letters in another case"
                )
            real = labels >= 0
            loss = F.ctc_loss(
                logits.log_softmax(-1).transpose(0, 1),
                labels.masked_select(real),
                output.frame_mask.sum(-1),
                real.sum(-1),
                zero_infinity=True,
            )
        result = CausalLMOutput(
            loss=loss, logits=logits, hidden_states=_states(self, output, output_hidden_states)
        )
        return result if return_dict is not False else result.to_tuple()


def _states(
    model: UniWavPreTrainedModel, output: Output, wanted: bool | None
) -> tuple[torch.Tensor, ...] | None:
    wanted = model.config.output_hidden_states if wanted is None else wanted
    return tuple(output.hidden_states) if wanted else None
