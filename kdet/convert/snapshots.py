"""What a weights file is to hold, copied out of a model at once and written while the model goes on."""

import math
import pathlib

import h5py
import keras
import numpy as np

from kdet import compat
from kdet.convert import keras_files
from kdet.typing import Array
from kdet.writing import whole


def snapshot(model: keras.Model) -> dict[str, Array]:
    """Copies of all weights of a model and of all slots of its optimizer, by their path in a weights file.

    Raises:
        IncompleteWeights: a file would not hold every weight.
    """
    keras_files.expected_shapes(model)
    values = compat.stored_values(model)
    return {
        path: value if isinstance(value, np.ndarray) else keras.ops.convert_to_numpy(value)
        for path, value in values.items()
    }


def write(path: pathlib.Path, values: dict[str, Array]) -> None:
    """Write a ``.weights.h5`` file as Keras does; it appears whole or not at all.

    Raises:
        WriteError: the disk is full or fails.
    """
    size = sum(math.prod(value.shape) * value.itemsize + 4096 for value in values.values())
    with whole(path, size) as part, h5py.File(part, "w") as file:
        for name, value in values.items():
            file.create_dataset(name, data=value)
