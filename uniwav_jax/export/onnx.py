"""Converts an export's encoder, CTC head, tokens and MDCT codec to ONNX; B and T are dynamic.

    features float32 [B, T, C]   normalised surface features
    frames int64 [B]             real frames of each row
    -> encoder.onnx: hidden_states [L + 1, B, T, D] (h_0 .. h_L) and final [B, T, D], float32
    -> ctc.onnx: logits float32 [B, T, V + 1]
    -> tokens.onnx: codes int64 [B, K, T]

    audio float32 [B, T, hop]    waveform in [-1, 1], filled up with silence to whole frames
    -> codec_encoder.onnx: features [B, T, C]
    features [B, T, C] -> codec_decoder.onnx: waveform [B, T hop]

The last two are written for features of an MDCT codec. ONNX has no complex numbers for the log-mel
spectrogram.
"""

import pathlib

import torch

from uniwav_jax.export.torch import uniwav_model
from uniwav_jax.export.write import write_sums


class Encoder(torch.nn.Module):
    """The encoder: features to the states of all layers."""

    inputs, names = ("features", "frames"), ("hidden_states", "final")

    def __init__(self, model: uniwav_model.UniWav) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        encoded = self._encode(features, frames)
        return torch.cat([encoded.embedding[None], encoded.states]), encoded.final

    def _encode(self, features: torch.Tensor, frames: torch.Tensor) -> uniwav_model.Encoded:
        mask = torch.arange(features.shape[1], device=features.device) < frames[:, None]
        return self.model.encoder(features, mask)


class Ctc(Encoder):
    """Encoder and CTC head: features to logits."""

    names = ("logits",)

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return self.model.logits(self._encode(features, frames))


class Tokens(Encoder):
    """Encoder and books: features to speech tokens."""

    names = ("codes",)

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        encoded = self._encode(features, frames)
        states = torch.cat([encoded.embedding[None], encoded.states])
        return self.model.tokens.encode(states, self.model.condition(encoded))


class Features(torch.nn.Module):
    """Waveform to normalised surface features; silence surrounds it."""

    inputs, names = ("audio",), ("features",)

    def __init__(self, model: uniwav_model.UniWav) -> None:
        super().__init__()
        self.features = model.features

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.features.encode(audio.flatten(1))


class Waveform(Features):
    """Normalised surface features to a waveform."""

    inputs, names = ("features",), ("waveform",)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.features.decode(features)


def write(folder: str) -> list[pathlib.Path]:
    """Write the graphs that the export has parts for into its folder.

    Args:
        folder: the export.

    Returns:
        Paths of all new files.

    Raises:
        ExportError: the export is incomplete or damaged.
    """
    model = uniwav_model.load(folder)
    surface = model.c["features"]
    graphs: dict[str, torch.nn.Module] = {"encoder": Encoder(model)}
    if "ctc" in model.c["parts"]:
        graphs["ctc"] = Ctc(model)
    if "tokens" in model.c["parts"]:
        graphs["tokens"] = Tokens(model)
    if surface["kind"] == "codec" and surface["encoder"][0]["kind"] == "mdct_analysis":
        graphs |= {"codec_encoder": Features(model), "codec_decoder": Waveform(model)}
    paths = []
    # A file of protobuf holds 2 GiB; the weights of larger models go to FILE.onnx.data.
    large = sum(p.numel() * p.element_size() for p in model.parameters()) > 1.9e9
    rows, time = torch.export.Dim("rows"), torch.export.Dim("time", min=2)
    examples = {
        "features": torch.zeros(2, 50, surface["channels"]),
        "frames": torch.tensor([50, 40]),
        "audio": torch.zeros(2, 50, surface["hop"]),
    }
    for name, graph in graphs.items():
        path = pathlib.Path(folder) / f"{name}.onnx"
        dynamic = {i: {0: rows} if i == "frames" else {0: rows, 1: time} for i in graph.inputs}
        torch.onnx.export(
            graph.eval(),
            tuple(examples[i] for i in graph.inputs),
            path,
            input_names=list(graph.inputs),
            output_names=list(graph.names),
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=large,
            verbose=False,
        )
        paths += sorted(path.parent.glob(f"{path.name}*"))
    write_sums(pathlib.Path(folder))
    return paths
