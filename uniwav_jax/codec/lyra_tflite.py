"""Converts Lyra's three .tflite files to the parameters of `lyra`, in float32.

The files are streaming graphs, partly in int8, with their operations in the order of our layers.
The weights of the convolutions are therefore taken in turn and dequantised where they are int8, and
each must have the shape that our layer expects. The rounding of activations to int8 is not
reproduced.
"""

import pathlib
from typing import Any

import numpy as np

from uniwav_jax.codec import layers, lyra
from uniwav_jax.codec.config import LyraConfig
from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

FILES = {
    "encoder": "soundstream_encoder.tflite",
    "decoder": "lyragan.tflite",
    "codebooks": "quantizer.tflite",
}
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def load(folder: str) -> tuple[LyraConfig, PyTree]:
    """Read the encoder, the decoder and, if its file exists, the quantiser.

    Returns:
        The configuration, and the parameters as float32 NumPy arrays, {"network": ..., "codebooks"
        [K, V, C]}.

    Raises:
        UserError: a file is missing, damaged, or of another model; names the file and the tensor.
    """
    paths = {part: pathlib.Path(folder) / name for part, name in FILES.items()}
    config = LyraConfig(**({} if paths["codebooks"].exists() else {"codebooks": 0}))
    network: PyTree = {}
    for part, chain, width in (
        ("encoder", lyra.encoder(config), 1),
        ("decoder", lyra.decoder(config), config.dimension),
    ):
        weights = _Weights(paths[part])
        for index, layer in enumerate(chain):
            if isinstance(layer, lyra.SeparableUnit):
                network[f"{part}_{index}"] = {
                    f"block_{i}": weights.take(inner, width)
                    for i, inner in enumerate(lyra.unit(layer.width, layer.dilation))
                    if isinstance(inner, layers.Convolution)
                }
            elif isinstance(layer, layers.Convolution | layers.Upsampling):
                network[f"{part}_{index}"] = weights.take(layer, width)
                width = layer.features
        weights.finish()
    params = {"network": network}
    if config.codebooks:
        params["codebooks"] = _codebooks(paths["codebooks"], config)
    return config, params


class _Graph:
    """The operations of the first graph in a .tflite file, and its constant tensors in float32."""

    def __init__(self, path: pathlib.Path) -> None:
        try:
            import tflite
        except ImportError:
            raise UserError('reading .tflite files needs: pip install "uniwav_jax[lyra]"') from None
        self.path = path
        try:
            self._model = tflite.Model.GetRootAs(path.read_bytes(), 0)
            self._graph = self._model.Subgraphs(0)
            self.operations: list[tuple[str, list[int], list[int]]] = []
            for number in range(self._graph.OperatorsLength()):
                operation = self._graph.Operators(number)
                code = self._model.OperatorCodes(operation.OpcodeIndex())
                kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
                sides = (operation.InputsAsNumpy(), operation.OutputsAsNumpy())
                # tflite returns 0 for an empty list.
                ends = ([] if isinstance(side, int) else side.tolist() for side in sides)
                self.operations.append((tflite.opcode2name(kind), *ends))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; Lyra's are {sorted(FILES.values())}") from None
        except Exception as error:  # flatbuffers has no exception type for damaged files
            raise UserError(f"{path} is not a readable .tflite file: {error!r}") from error

    def constant(self, index: int) -> np.ndarray | None:
        """The value of a constant tensor, dequantised to float32; None for computed tensors."""
        tensor = self._graph.Tensors(index)
        data = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int):
            return None
        dtype = {0: np.float32, 2: np.int32, 9: np.int8}.get(tensor.Type())
        if dtype is None:
            return None
        value = data.view(dtype).reshape(tensor.ShapeAsNumpy()).astype(np.float32)
        quantization: Any = tensor.Quantization()
        if dtype is np.float32 or quantization is None or not quantization.ScaleLength():
            return value
        shape = [1] * value.ndim
        shape[quantization.QuantizedDimension()] = -1
        scale, zero = quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy()
        return (value - zero.reshape(shape)) * scale.reshape(shape).astype(np.float32)


class _Weights:
    """The kernels and biases of a graph's convolutions, which are taken in order."""

    def __init__(self, path: pathlib.Path) -> None:
        graph = _Graph(path)
        self._path, self._left = path, []
        for kind, inputs, _ in graph.operations:
            if kind in CONVOLUTIONS:
                constants = [value for i in inputs if (value := graph.constant(i)) is not None]
                kernel = next(value for value in constants if value.ndim == 4)
                bias = next(value for value in reversed(constants) if value.ndim == 1)
                self._left.append((kind, kernel, bias))

    def take(self, layer: layers.Convolution | layers.Upsampling, width: int) -> PyTree:
        """Parameters {"kernel", "bias"} of `layer`, whose input has `width` channels."""
        up = isinstance(layer, layers.Upsampling)
        # tflite splits a grouped transposed convolution into one per group.
        parts = [self._next(layer) for _ in range(layer.groups if up else 1)]
        kernel = np.concatenate([self._ordered(*part) for part in parts], axis=-1)
        bias = np.concatenate([bias for *_, bias in parts])
        expected = (layer.kernel, width // layer.groups, layer.features)
        if kernel.shape != expected or bias.shape != expected[2:]:
            raise UserError(
                f"{self._path}: a convolution has shape {kernel.shape}, but Lyra's has {expected};"
                " only the files of version 1.3 are supported"
            )
        return {"kernel": np.ascontiguousarray(kernel), "bias": bias}

    def finish(self) -> None:
        """Check that all convolutions were taken."""
        if self._left:
            raise UserError(f"{self._path} has {len(self._left)} convolutions more than Lyra")

    def _next(self, layer: Any) -> tuple[str, np.ndarray, np.ndarray]:
        if not self._left:
            raise UserError(f"{self._path} has too few convolutions; {layer} has no weights")
        return self._left.pop(0)

    @staticmethod
    def _ordered(kind: str, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The kernel with axes [time, inputs of a group, outputs]."""
        del bias
        if kind == "DEPTHWISE_CONV_2D":  # [1, time, 1, channels]
            return kernel[0]
        # The axes are [outputs, time, 1, inputs]; with one output channel they can also be
        # [1, time, 1, inputs] or [.., 1, time, ..].
        return kernel.squeeze(2).transpose(1, 2, 0)


def _codebooks(path: pathlib.Path, config: LyraConfig) -> np.ndarray:
    """The codebooks, float32 [K, V, C]: the tables of the decoding graph, ordered by stage."""
    graph = _Graph(path)
    stages, books = {}, {}
    for kind, inputs, outputs in graph.operations:
        if kind == "STRIDED_SLICE":
            begin = graph.constant(inputs[1])
            stages[outputs[0]] = None if begin is None else int(begin[0])
        elif kind == "GATHER":
            books[stages.get(inputs[1])] = graph.constant(inputs[0])
    if set(books) != set(range(config.codebooks)):
        raise UserError(f"{path} has {len(books)} codebooks, but Lyra has {config.codebooks}")
    shape = (config.codewords, config.dimension)
    for book in books.values():
        if book is None or book.shape != shape:
            raise UserError(f"{path}: a codebook is not of shape {shape}")
    return np.stack([books[stage] for stage in range(config.codebooks)])
