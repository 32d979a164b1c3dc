"""Weights in Keras' own files (``.weights.h5``, ``.keras``): loaded whole and checked, or not at all."""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator

import keras
import numpy as np

from kdet.convert import keras_files
from kdet.convert.keras_files import Difference
from kdet.convert.state_dict import check_finite
from kdet.data.files import open_regular
from kdet.errors import CheckpointError, first_line
from kdet.typing import PathLike

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SPARE = 2**26


def load(model: keras.Model, path: PathLike, allow_mismatch: bool = False) -> Difference | None:
    """Fills a built model, and its optimizer where the file has its state.

    Returns:
        with ``allow_mismatch`` the ``Difference`` of file and model, else None.

    Raises:
        IncompleteWeights: file and model do not cover each other.
        MissingFile: there is no such file.
        CheckpointError: no such file of Keras, damaged, for another model, or with values that are not
            finite. Model and optimizer are then unchanged.
    """
    found = None
    check_kind(model, path)
    with unchanged_on_failure(model):
        try:
            if allow_mismatch:
                found = keras_files.fill_what_fits(model, pathlib.Path(path))
            else:
                model.load_weights(path)
        except keras_files.IncompleteWeights:
            raise
        except Exception as error:  # Keras and HDF5 fail in many ways on what does not fit
            raise CheckpointError(
                f"{path} cannot be loaded into the model {model.name!r}: it is damaged or for another model "
                f"({first_line(error)})."
            ) from error
        check_finite({variable.path: variable.numpy() for variable in model.weights}, path)
    return found


@contextlib.contextmanager
def unchanged_on_failure(model: keras.Model) -> Iterator[None]:
    """Gives a model and its optimizer their values back when the block fails."""
    compiled = isinstance(model, keras.Model) and model.compiled
    variables = [*model.weights, *(model.optimizer.variables if compiled else ())]
    before = [(variable, np.array(variable.numpy())) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def check_kind(model: keras.Model, path: PathLike) -> None:
    """Raises a CheckpointError where the file at ``path`` does not start like what its name says."""
    with open_regular(path, "weights file", CheckpointError) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(8)
        if not str(path).endswith(".keras"):
            if head != _HDF5:
                raise CheckpointError(f"{path} is no HDF5 file: it starts with {head!r} ({size} bytes).")
            return
        try:
            with zipfile.ZipFile(file) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise CheckpointError(f"{path} is no .keras file: {first_line(error)}.") from error
    if "model.weights.h5" not in sizes:
        raise CheckpointError(f"{path} is no .keras file: it holds no model.weights.h5.")
    own = sum(int(np.prod(v.shape)) * 4 for v in model.weights)
    if sum(sizes.values()) > 8 * own + _SPARE:
        raise CheckpointError(
            f"{path} unpacks to {sum(sizes.values())} bytes, far more than the model {model.name!r} has."
        )
