"""A kdet detector as an MMDetection checkpoint."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from kdet.convert.pth_writer import write_pth
from kdet.convert.state_dict import state_dict
from kdet.typing import PathLike


def save_checkpoint(
    model: keras.Model,
    path: PathLike,
    *,
    classes: Sequence[str] | None = None,
    meta: dict[str, Any] | None = None,
) -> int:
    """Writes a detector as a ``.pth`` that MMDetection 2.x loads with the matching recipe.

    Names and layouts are PyTorch's. Buffers that carry no information (BN's step counters, constants)
    are not written; PyTorch fills them in.

    Args:
        model: a built detector.
        path: the file to write.
        classes: class names for ``meta["CLASSES"]``, which MMDetection uses to draw and evaluate.
        meta: more entries of the file's ``meta``.

    Returns:
        The number of tensors.
    """
    state = collections.OrderedDict(state_dict(model))
    about = {"mmdet_version": "2.28.2", "exported_by": "kdet", **(meta or {})}
    if classes is not None:
        about["CLASSES"] = tuple(classes)
    write_pth(pathlib.Path(path), {"meta": about, "state_dict": state})
    return len(state)
