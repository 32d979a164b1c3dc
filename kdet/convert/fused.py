"""Tensors of a file that are several of a model's, one behind the other."""

import re
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

# (pattern at the end of a name, whose group is the tensor's own name; the names in its place, for each part)
Fused = Sequence[tuple[str, tuple[str, Sequence[str]]]]


def split(name: str, array: Any, fused: Fused, known: Container[str]) -> dict[str, Any]:
    """``{name: array}`` of the parts that the model knows; of the tensor itself where it is not one of those.

    Args:
        name, array: of the file.
        fused: which tensors have parts: see ``Fused``.
        known: the model's names.
    """
    for pattern, (target, parts) in fused:
        match = re.search(pattern, name)
        if match:
            pieces = np.split(np.asarray(array), len(parts))
            names = [name[: match.start()] + target.format(part) + match[1] for part in parts]
            return {own: piece for own, piece in zip(names, pieces, strict=True) if own in known}
    return {name: array}
