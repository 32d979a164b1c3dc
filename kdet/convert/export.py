"""A kdet detector as a checkpoint of PyTorch."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from kdet.convert.pth_writer import write_pth
from kdet.convert.safetensors import write_safetensors
from kdet.convert.state_dict import state_dict
from kdet.typing import PathLike


def save_checkpoint(
    model: keras.Model,
    path: PathLike,
    *,
    classes: Sequence[str] | None = None,
    meta: dict[str, Any] | None = None,
) -> int:
    """Writes a detector as a ``.pth`` that MMDetection loads with the matching config, or as the
    ``.safetensors`` that Transformers does.

    Names and layouts are PyTorch's. Buffers that carry no information (BN's step counters, constants)
    are not written; PyTorch fills them in.

    Args:
        model: a built detector.
        path: the file to write; its ending decides.
        classes: class names for ``meta["CLASSES"]``, which MMDetection uses to draw and evaluate; of a
            ``.pth``.
        meta: more entries of the file's ``meta``.

    Returns:
        The number of tensors.
    """
    if str(path).endswith(".safetensors"):
        arrays = state_dict(model)
        write_safetensors(path, arrays, {"format": "pt", **{k: str(v) for k, v in (meta or {}).items()}})
        return len(arrays)
    state = collections.OrderedDict(state_dict(model))
    about = {"mmdet_version": "2.28.2", "exported_by": "kdet", **(meta or {})}
    if classes is not None:
        about["CLASSES"] = tuple(classes)
    write_pth(pathlib.Path(path), {"meta": about, "state_dict": state})
    return len(state)
