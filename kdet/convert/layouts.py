"""Layout rules: how a PyTorch tensor lies in memory compared with the Keras variable it fills.

A rule is ``None`` (same layout), a name, or a tuple ``(name, *parameters)``:

| rule | PyTorch | Keras |
|-|-|-|
| ``"conv"`` | ``[O, I/groups, h, w]`` | ``[h, w, I/groups, O]`` |
| ``"depthwise"`` | ``[C*m, 1, h, w]`` | ``[h, w, C, m]`` |
| ``"conv_transpose"`` | ``[I, O, h, w]`` | ``[h, w, O, I]`` |
| ``"linear"`` | ``[O, I]`` | ``[I, O]`` |
| ``"point_conv"`` | ``[O, I, 1]`` (a 1-D convolution of one step) | ``[I, O]`` |
| ``("linear_chw", (h, w))`` | ``[O, C*h*w]`` | ``[h*w*C, O]``: a dense layer behind a flattened map |
| ``("chw", (h, w))`` | ``[C*h*w]`` | ``[h*w*C]``: of a norm over such a vector |

Every rule is a permutation of elements, so ``to_torch`` inverts ``to_keras`` exactly.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.typing import Array, LayoutRule


def to_keras(rule: LayoutRule, array: Array, shape: Sequence[int]) -> Array:
    """Lays a PyTorch array out as its Keras variable of ``shape`` expects it.

    Raises:
        ValueError: when the array cannot take that shape under this rule.
    """
    expected = torch_shape(rule, shape)
    if tuple(array.shape) != expected:
        raise ValueError(f"expected a PyTorch shape of {expected}, found {tuple(array.shape)}")
    name, parameters = _parse(rule)
    if name is None:
        return array
    if name == "conv":
        return array.transpose(2, 3, 1, 0)
    if name == "depthwise":
        h, w, channels, multiplier = shape
        return array.reshape(channels, multiplier, h, w).transpose(2, 3, 0, 1)
    if name == "conv_transpose":
        return array.transpose(2, 3, 1, 0)
    if name == "linear":
        return array.transpose(1, 0)
    if name == "point_conv":
        return array[..., 0].transpose(1, 0)
    h, w = parameters[0]
    if name == "chw":
        return array.reshape(-1, h, w).transpose(1, 2, 0).reshape(-1)
    rows, outputs = shape
    return array.reshape(outputs, rows // (h * w), h, w).transpose(2, 3, 1, 0).reshape(rows, outputs)


def to_torch(rule: LayoutRule, array: Array) -> Array:
    """The inverse of ``to_keras``: a Keras array in PyTorch's layout."""
    array = np.asarray(array)
    name, parameters = _parse(rule)
    if name is None:
        return array
    if name in ("conv", "conv_transpose"):
        return array.transpose(3, 2, 0, 1)
    if name == "depthwise":
        return array.transpose(2, 3, 0, 1).reshape(torch_shape(rule, array.shape))
    if name == "linear":
        return array.transpose(1, 0)
    if name == "point_conv":
        return array.transpose(1, 0)[..., None]
    h, w = parameters[0]
    if name == "chw":
        return array.reshape(h, w, -1).transpose(2, 0, 1).reshape(-1)
    rows, outputs = array.shape
    return array.reshape(h, w, rows // (h * w), outputs).transpose(3, 2, 0, 1).reshape(outputs, rows)


def torch_shape(rule: LayoutRule, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the PyTorch tensor that fills a Keras variable of ``shape``."""
    shape = tuple(int(size) for size in shape)
    name, _ = _parse(rule)
    if name in (None, "chw"):
        return shape
    if name in ("conv", "conv_transpose"):
        h, w, second, first = shape
        return (first, second, h, w)
    if name == "depthwise":
        h, w, channels, multiplier = shape
        return (channels * multiplier, 1, h, w)
    return (*shape[::-1], 1) if name == "point_conv" else shape[::-1]


def _parse(rule: LayoutRule) -> tuple[str | None, list[Any]]:
    whole: tuple[Any, ...] = tuple(rule) if isinstance(rule, (tuple, list)) else (rule,)
    name, *parameters = whole
    of_maps = ("linear_chw", "chw")
    if name not in (None, "conv", "depthwise", "conv_transpose", "linear", "point_conv", *of_maps):
        raise ValueError(f"Unknown layout rule {rule!r}; see kdet.convert.layouts for the known ones.")
    if (name in of_maps) != (len(parameters) == 1):
        raise ValueError(
            f"Layout rule {rule!r}: only 'linear_chw' and 'chw' take a parameter, the (h, w) of the map."
        )
    return name, parameters
