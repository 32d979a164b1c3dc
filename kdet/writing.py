"""Files and folders that appear whole or not at all, whatever becomes of the disk."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from kdet.errors import WriteError, first_line
from kdet.typing import PathLike


@contextlib.contextmanager
def whole(path: PathLike, size: int = 0) -> Iterator[pathlib.Path]:
    """Give a path beside ``path`` to write a file or a folder to; at the end it takes its place.

    After an error of any kind nothing is left of it, and what stood at ``path`` before still stands there.

    Args:
        path: where it is to stand.
        size: so many bytes must be free beforehand: HDF5 does not survive a disk that becomes full.

    Raises:
        WriteError: the disk is full or fails.

    Example:
        >>> with whole("model.tflite") as part:
        ...     part.write_bytes(content)
    """
    target = pathlib.Path(path)
    part = target.with_name(f".part.{target.name}")  # the ending stays: Keras chooses a format by it
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        if size:
            _reserve(part, size)
        try:
            yield part
            if target.is_dir():
                _remove(target)
            os.replace(part, target)
        finally:
            _remove(part)


@contextlib.contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turn what the disk and TensorFlow say of a write that failed into a sentence that names ``path``.

    Raises:
        WriteError: the disk is full, fails, or may not be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not of the disk
            raise
        raise _failed(path, error.strerror or str(error)) from error
    except Exception as error:
        # TensorFlow's own, which is not imported for this
        if type(error).__name__ not in ("ResourceExhaustedError", "PermissionDeniedError"):
            raise
        raise _failed(path, first_line(error)) from error


def _reserve(path: pathlib.Path, size: int) -> None:
    """Raise an OSError unless ``size`` bytes can be written at ``path``; leaves nothing there."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):  # not every system has it
            os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)
        os.unlink(path)


def _failed(path: PathLike, reason: str) -> WriteError:
    full = "o space left" in reason or "RESOURCE_EXHAUSTED" in reason
    advice = "Free some room, or choose another folder." if full else "Choose another folder."
    return WriteError(f"{os.fspath(path)} cannot be written: {reason.rstrip('.')}. {advice}")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
