"""Converts our parameters to the PyTorch model's tensors and back, without PyTorch.

A leaf of our tree, named by its path, is one tensor in PyTorch or, if layers are stacked for
`nn.scan`, one tensor per layer:

    encoder/layers/attention/qkv_kernel [L, D, 3, H, d] -> encoder.layers.{l}.attention.qkv.weight
    durations/encoder/layers/...                        -> durations.encoder.layers.{l}...
    decoder/layers_out/...                              -> decoder.layers.{L / 2 + l}...
    .../kernel [in, out] -> .weight [out, in]           .../scale -> .weight

Every conversion is a transposition and a reshape, so a round trip is exact to the bit.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from flax import traverse_util

from uniwav_jax.errors import UserError
from uniwav_jax.types import PyTree

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""Name and conversion of the leaves whose path matches `path`.

    Attributes:
        path: regular expression for the whole path of a leaf.
        name: path of the tensor in PyTorch; "\\1" is replaced by the first group.
        there: converts the array of one layer to a tensor.
        back: converts a tensor to an array of the given shape.
    """

    path: str
    name: str
    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray, Shape], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _reshape(array: np.ndarray, shape: Shape) -> np.ndarray:
    return array.reshape(shape)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)


def _matrix(inputs: int) -> tuple[Callable, Callable]:
    """Conversions of kernels whose first `inputs` axes are summed over."""

    def there(kernel: np.ndarray) -> np.ndarray:
        return kernel.reshape(int(np.prod(kernel.shape[:inputs])), -1).T

    def back(weight: np.ndarray, shape: Shape) -> np.ndarray:
        return weight.T.reshape(shape)

    return there, back


def _reversed(array: np.ndarray) -> np.ndarray:
    """Reverse the axes: [k, in, out] <-> [out, in, k]."""
    return array.transpose(2, 1, 0)


def _depthwise(kernel_kxD: np.ndarray) -> np.ndarray:
    return kernel_kxD.T[:, None]


CONVOLUTION = (_reversed, lambda weight, shape: _reversed(weight))
RULES = (
    Rule(r"(.*encoder/mask_vector)", r"\1", _same, _reshape),
    Rule(r"(.*encoder/positions)/kernel_(\d+)", r"\1/\2/weight", *CONVOLUTION),
    Rule(r"(.*encoder/positions)/bias_(\d+)", r"\1/\2/bias", _same, _reshape),
    Rule(r"(.*/attention)/qkv_kernel", r"\1/qkv/weight", *_matrix(1)),
    Rule(r"(.*/attention)/qkv_bias", r"\1/qkv/bias", _flat, _reshape),
    Rule(r"(.*/attention/out)/kernel", r"\1/weight", *_matrix(2)),
    Rule(
        r"decoder/position_kernel",
        "decoder/position/weight",
        _depthwise,
        lambda weight, shape: weight[:, 0].T,
    ),
    Rule(r"decoder/position_bias", "decoder/position/bias", _same, _reshape),
    Rule(r"(decoder/norm_scale)", r"\1", _same, _reshape),
    Rule(r"(condition/(?:mix|null))", r"\1", _same, _reshape),
    Rule(r"heads/kernel", "heads/weight", _same, _reshape),
    Rule(r"(heads/bias)", r"\1", _same, _reshape),
    Rule(r"ctc/kernel", "ctc/head/weight", *_matrix(1)),
    Rule(r"ctc/bias", "ctc/head/bias", _same, _reshape),
    Rule(r"(ctc/mix)", r"\1", _same, _reshape),
    Rule(r"(codebooks/(?:sums|counts))", r"\1", _same, _reshape),
    Rule(r"tokens/kernel", "tokens/project/weight", *_matrix(1)),
    Rule(r"tokens/bias", "tokens/project/bias", _same, _reshape),
    Rule(r"tokens/down/kernel", "tokens/down/weight", *_matrix(1)),
    Rule(r"(tokens/down/bias)", r"\1", _same, _reshape),
    Rule(r"books/(first|later)/(sums|counts)", r"tokens/\1_\2", _same, _reshape),
    Rule(r"((?:phones|durations/tables)/(?:phone|stress|place))", r"\1", _same, _reshape),
    Rule(r"(features/(?:mean|std))", r"\1", _same, _reshape),
    Rule(r"(.*)/scale", r"\1/weight", _same, _reshape),
    Rule(r"((?:encoder|decoder|condition|durations)/.*)/kernel", r"\1/weight", *_matrix(1)),
    Rule(r"((?:encoder|decoder|condition|durations)/.*/bias)", r"\1", _flat, _reshape),
    # These rules are for a task's head that is one linear layer on the encoder's states.
    Rule(r"(\w+)/kernel", r"linear/\1/weight", *_matrix(1)),
    Rule(r"(\w+)/bias", r"linear/\1/bias", _same, _reshape),
)
STACKS = (
    *("encoder/layers", "durations/encoder/layers"),
    *("decoder/layers_in", "decoder/layers_out"),
)


def to_torch(params: PyTree, more: Sequence[Rule] = ()) -> dict[str, np.ndarray]:
    """Convert parameters to PyTorch's tensors, as NumPy arrays by name.

    Args:
        params: the exported parts {"encoder", ...} as NumPy arrays, including "codebooks" and
            "features" {"mean", "std"}.
        more: rules besides `RULES`, for a codec.

    Raises:
        UserError: no rule matches a parameter.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    tensors: dict[str, np.ndarray] = {}
    for path, array in flat.items():
        for name, rule, layer in _places(path, array.shape, more):
            value = np.asarray(array if layer is None else array[layer])
            tensors[name] = np.ascontiguousarray(rule.there(value))
    return tensors


def from_torch(tensors: dict[str, np.ndarray], shapes: PyTree, more: Sequence[Rule] = ()) -> PyTree:
    """Convert tensors to our parameters; the inverse of `to_torch`.

    Args:
        tensors: NumPy arrays by name.
        shapes: tree of objects with `shape`, such as `jax.eval_shape` returns.
        more: rules besides `RULES`, for a codec.

    Raises:
        UserError: a tensor is missing, unexpected or of another shape; names it.
    """
    left = dict(tensors)
    params = {}
    for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items():
        shape = tuple(leaf.shape)
        layers = []
        for name, rule, layer in _places(path, shape, more):
            one = shape if layer is None else shape[1:]
            if name not in left:
                raise UserError(f"tensor {name} is missing")
            wanted = rule.there(np.empty(one, np.int8)).shape
            if left[name].shape != wanted:
                raise UserError(f"tensor {name} is {left[name].shape}, expected {wanted}")
            layers.append(rule.back(left.pop(name), one))
        stacked = np.ascontiguousarray(layers[0] if layer is None else np.stack(layers))
        params[path] = stacked
    if left:
        raise UserError(
            f"tensor {sorted(left)[0]} does not belong to this model"
            f" ({len(left)} unexpected tensors)"
        )
    return traverse_util.unflatten_dict(params, sep="/")


def _depth(path: str, shape: Shape) -> int:
    """Number of layers that are stacked in the leaf; 0: it is not stacked."""
    return shape[0] if path.startswith(tuple(f"{stack}/" for stack in STACKS)) else 0


def _places(
    path: str, shape: Shape, more: Sequence[Rule]
) -> Iterator[tuple[str, Rule, int | None]]:
    """Yield the name in PyTorch, the rule and the layer of each tensor that belongs to the leaf."""
    depth = _depth(path, shape)
    for rule in (*more, *RULES):
        if re.fullmatch(rule.path, path):
            break
    else:
        raise UserError(f"parameter {path} has no name in PyTorch; see uniwav_jax/export/names.py")
    name = re.sub(rf"^{rule.path}$", rule.name, path)
    if not depth:
        yield name.replace("/", "."), rule, None
        return
    stack = next(s for s in STACKS if path.startswith(f"{s}/"))
    first = depth if stack.endswith("_out") else 0
    base = stack.removesuffix("_in").removesuffix("_out")
    for layer in range(depth):
        one = f"{base}/{first + layer}{name.removeprefix(stack)}"
        yield one.replace("/", "."), rule, layer
