"""Checks of what the ops are called with, of all that is known when an op is called or traced.

Compiled ops check their tensors again when they run. Portable forms do not: what does not fit would be
broadcast, or gathered from wherever the arithmetic leads.
"""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from kdet.typing import Pair, Tensor


def pair(op: str, name: str, value: int | Sequence[int], least: int) -> Pair:
    """``(y, x)`` of an argument that is an int or two of them, each of at least ``least``."""
    values: tuple[Any, ...] = (value, value) if isinstance(value, (int, numbers.Integral)) else tuple(value)
    if len(values) != 2 or not all(isinstance(v, numbers.Integral) and int(v) >= least for v in values):
        raise ValueError(f"{op}: {name} is {value!r}, but must be an int >= {least} or two, (y, x).")
    return int(values[0]), int(values[1])


def at_least(op: str, name: str, value: Any, least: int) -> int:
    """The int ``value``, if it is not smaller than ``least``."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{op}: {name} is {value!r}, but must be an int >= {least}.")
    return int(value)


def check_image(op: str, height: int | Tensor, width: int | Tensor) -> None:
    """Refuses a size of an image that is known to be negative."""
    for name, size in (("height", height), ("width", width)):
        if isinstance(size, numbers.Integral):
            at_least(op, name, size, 0)


def check_shapes(
    op: str, sizes: Mapping[str, int | None] | None = None, **tensors: tuple[Tensor, str]
) -> None:
    """Refuses tensors whose known sizes do not fit together.

    Args:
        op: name of the op, for the message.
        sizes: ``{axis: size}`` of the named axes that are known beforehand; None is unknown.
        tensors: ``name=(tensor, axes)`` with axes such as ``"B N 4"``: numbers, and names of sizes that are
            the same wherever they occur.
    """
    known_sizes = {axis: size for axis, size in (sizes or {}).items() if size is not None}
    for name, (tensor, names) in tensors.items():
        axes, shape = names.split(), tensor.shape
        if shape.rank is None:
            continue
        wanted = [int(axis) if axis.isdigit() else known_sizes.get(axis) for axis in axes]
        if not shape.is_compatible_with(wanted):
            known = ", ".join(f"{axis}={known_sizes[axis]}" for axis in axes if axis in known_sizes)
            raise ValueError(
                f"{op}: {name} must be [{','.join(axes)}]{f' with {known}' if known else ''}, "
                f"not of shape {shape}."
            )
        known_sizes.update((axis, size) for axis, size in zip(axes, shape) if size is not None)


def known_size(op: str, name: str, tensor: Tensor, axis: int) -> int:
    """The size of a tensor's axis, which must be known when the op is traced."""
    size = None if tensor.shape.rank is None else tensor.shape[axis]
    if size is None:
        raise ValueError(f"{op}: axis {axis} of {name} must be known, but its shape is {tensor.shape}.")
    return size


def convolved_sizes(
    x: Tensor, kernel: Tensor, strides: Pair, padding: Pair, dilations: Pair = (1, 1)
) -> dict[str, int | None]:
    """``{"B", "H'", "W'"}``, as far as known, of what a convolution with symmetric padding gives."""
    sizes = {"B": x.shape[0]}
    spans = zip(("H'", "W'"), x.shape[1:3], kernel.shape[:2], strides, padding, dilations)
    for axis, size, cells, stride, pad, dilation in spans:
        free = None if size is None else size + 2 * pad - dilation * (cells - 1) - 1
        sizes[axis] = None if free is None else max(0, free // stride + 1)
    return sizes
