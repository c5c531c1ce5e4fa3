"""Converts an export's encoder, and encoder with CTC head, to ONNX; B and T are dynamic.

    features float32 [B, T, C]   normalised surface features
    frames int64 [B]             real frames of each row
    -> encoder.onnx: hidden_states [L + 1, B, T, D] (h_0 .. h_L) and final [B, T, D], float32
    -> ctc.onnx: logits float32 [B, T, V + 1]

The computation of surface features is not included, because ONNX has no complex numbers for the
log-mel spectrogram, and codec latents need a model of their own.
"""

import pathlib

import torch

from uniwav_jax.export.torch import uniwav_model
from uniwav_jax.export.write import write_sums


class Encoder(torch.nn.Module):
    """The encoder: features to the states of all layers."""

    names = ("hidden_states", "final")

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


def write(folder: str) -> list[pathlib.Path]:
    """Write encoder.onnx and, for recognisers, ctc.onnx into an export's folder.

    Args:
        folder: the export.

    Returns:
        Paths of all new files.

    Raises:
        ExportError: the export is incomplete or damaged.
    """
    model = uniwav_model.load(folder)
    graphs: dict[str, Encoder] = {"encoder": Encoder(model)}
    if "ctc" in model.c["parts"]:
        graphs["ctc"] = Ctc(model)
    paths = []
    # A file of protobuf holds 2 GiB; the weights of larger models go to FILE.onnx.data.
    large = sum(p.numel() * p.element_size() for p in model.parameters()) > 1.9e9
    rows, time = torch.export.Dim("rows"), torch.export.Dim("time", min=2)
    example = (torch.zeros(2, 50, model.c["features"]["channels"]), torch.tensor([50, 40]))
    for name, graph in graphs.items():
        path = pathlib.Path(folder) / f"{name}.onnx"
        torch.onnx.export(
            graph.eval(),
            example,
            path,
            input_names=["features", "frames"],
            output_names=list(graph.names),
            dynamic_shapes={"features": {0: rows, 1: time}, "frames": {0: rows}},
            dynamo=True,
            external_data=large,
            verbose=False,
        )
        paths += sorted(path.parent.glob(f"{path.name}*"))
    write_sums(pathlib.Path(folder))
    return paths
