"""What a canvas and a number of images may be, for every format and for the tools."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from kdet.typing import Pair

# "dynamic", "buckets", (height, width) or "HEIGHTxWIDTH"
InputSize: TypeAlias = str | Sequence[int]


def shape_of(input_size: InputSize) -> Pair | str | None:
    """None for "dynamic", "buckets" for itself, otherwise (height, width) from a pair or "800x1344".

    Raises:
        ValueError: none of these.
    """
    if input_size == "dynamic":
        return None
    if input_size == "buckets":
        return input_size
    try:
        pair = input_size.split("x") if isinstance(input_size, str) else input_size
        height, width = (_whole(side) for side in pair)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(
            f"The input size is 'dynamic', 'buckets' or (height, width) as in 800x1344, not {input_size!r}."
        )
    return height, width


def batch_of(batch: int | str | None) -> int | None:
    """None for None or "dynamic", otherwise a number of images from 1 on, from a number or its digits.

    Raises:
        ValueError: neither.
    """
    if batch is None or batch == "dynamic":
        return None
    try:
        number = _whole(batch)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ValueError(f"The batch is 'dynamic' or a number of images from 1 on, not {batch!r}.")
    return number


def _whole(value: Any) -> int:
    """An int from a whole number or its digits; True and 1.5 are none."""
    number = int(value)
    if isinstance(value, bool) or (not isinstance(value, str) and number != value):
        raise ValueError
    return number
