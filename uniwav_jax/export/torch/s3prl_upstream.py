"""An upstream for s3prl (S3PRL, SUPERB): hidden states of all layers for a list of waveforms.

Register this class under a name of your choice in s3prl/hub.py; `ckpt` is the exported folder.
"""

import torch

from .uniwav_model import load


class UpstreamExpert(torch.nn.Module):
    """The interface of an s3prl upstream."""

    def __init__(self, ckpt: str, model_config: str | None = None, **options: object) -> None:
        super().__init__()
        del model_config, options
        self.model = load(ckpt)

    def get_downsample_rates(self, key: str) -> int:
        """Samples per frame."""
        del key
        return self.model.features.hop

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        """Waveforms [S] in [-1, 1] at 16 kHz to {"hidden_states": list of L + 1 [B, T, D]}."""
        audio = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        samples = torch.tensor([len(wav) for wav in wavs], device=audio.device)
        return {"hidden_states": list(self.model(audio, samples).hidden_states)}
