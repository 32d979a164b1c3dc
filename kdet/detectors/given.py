"""Images as people have them -> the iterable of paths, encoded bytes and arrays that the data room reads."""

import collections.abc
import os
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet import storage

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
HEADS = (b"\xff\xd8", b"\x89PNG", b"BM", b"GIF8", b"RIFF")  # what encoded images begin with
TAKEN = (
    "a path, a folder, a URL, encoded bytes, a PIL image, an array or tensor [H,W,3] or [H,W] of 0..255; a "
    "list, an array or a generator of these; or network inputs: a tensor [B,H,W,3], a dict with 'images', a "
    "tf.data.Dataset"
)


def is_network_input(x: Any) -> bool:
    """True for what goes to Keras' own ``predict``: batches of the data contract."""
    if isinstance(x, tf.Tensor):
        return x.shape.rank == 4
    return isinstance(x, (dict, tf.data.Dataset, keras.utils.PyDataset, tf.distribute.DistributedDataset))


def images_of(x: Any) -> collections.abc.Iterable[Any]:
    """The images in ``x``, see ``TAKEN``: a list, or for a generator an iterator.

    Folders stand for the images in them, by name; a list may hold folders too.

    Raises:
        TypeError: ``x`` or an element is nothing of that kind.
        FileNotFoundError: a folder without images. DataError: a folder behind a URL that cannot be listed.
    """
    if isinstance(x, tf.Tensor):
        x = _of_tensor(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "SUO":
        x = x.reshape(-1).tolist() if x.ndim else x.item()
    if isinstance(x, np.ndarray):
        if x.shape == (0,):
            return []
        if x.ndim not in (2, 3, 4):
            raise TypeError(f"predict takes {TAKEN}; got an array of shape {x.shape}.")
        return [_one(image) for image in (x if x.ndim == 4 else [x])]
    if isinstance(x, (str, bytes, bytearray, os.PathLike)) or _is_pil(x) or not _is_many(x):
        return _expanded(x)
    if isinstance(x, (list, tuple)):
        return [image for one in x for image in _expanded(one)]
    return (image for one in x for image in _expanded(one))


def _is_many(x: Any) -> bool:
    return isinstance(x, collections.abc.Iterable) and not isinstance(x, (set, frozenset, dict))


def _expanded(one: Any) -> list[Any]:
    """The images behind one element: several for a folder."""
    if storage.is_url(one):
        return list(storage.meant(str(one), SUFFIXES))
    if isinstance(one, (str, os.PathLike)) and os.path.isdir(one):
        found = sorted(p for p in pathlib.Path(one).iterdir() if p.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(f"The folder {os.fspath(one)} holds no image ({', '.join(SUFFIXES)}).")
        return found
    return [_one(one)]


def _one(one: Any) -> Any:
    if isinstance(one, tf.Tensor):
        one = _of_tensor(one)
    if isinstance(one, (str, bytes, os.PathLike)):
        return one
    if isinstance(one, bytearray):
        return bytes(one)
    if _is_pil(one):
        from PIL import ImageOps

        return np.asarray(ImageOps.exif_transpose(one).convert("RGB"))
    if isinstance(one, np.ndarray) or hasattr(one, "__array__"):  # NumPy's protocol for foreign arrays
        array = np.asarray(one)
        if array.ndim == 0 and array.dtype.kind in "SUO":
            return _one(array.item())
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
            return array
        hint = " (channels go last)" if array.ndim == 3 and array.shape[0] in (1, 3) else ""
        raise TypeError(f"predict takes {TAKEN}; got an image of shape {array.shape}{hint}.")
    raise TypeError(f"predict takes {TAKEN}; got {type(one).__name__}.")


def _of_tensor(tensor: Any) -> Any:
    """Its NumPy array; strings become paths unless they are encoded images."""
    array = tensor.numpy()
    if tensor.dtype != tf.string:
        return array
    texts = [text if text.startswith(HEADS) else os.fsdecode(text) for text in np.ravel(array).tolist()]
    return np.array(texts, object).reshape(tensor.shape)


def _is_pil(x: Any) -> bool:
    module = sys.modules.get("PIL.Image")  # who has such an image has imported it
    return module is not None and isinstance(x, module.Image)
