"""Files and folders that appear whole or not at all, whatever becomes of the disk."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from kdet.errors import WriteError, first_line
from kdet.typing import PathLike


@contextlib.contextmanager
def whole(path: PathLike) -> Iterator[pathlib.Path]:
    """Give a path beside ``path`` to write a file or a folder to; at the end it takes its place.

    After an error of any kind nothing is left of it, and what stood at ``path`` before still stands there.

    Raises:
        WriteError: the disk is full or fails.

    Example:
        >>> with whole("model.tflite") as part:
        ...     part.write_bytes(content)
    """
    target = pathlib.Path(path)
    part = target.with_name(f".{target.name}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
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


def _failed(path: PathLike, reason: str) -> WriteError:
    full = "o space left" in reason or "RESOURCE_EXHAUSTED" in reason
    advice = "Free some room, or choose another folder." if full else "Choose another folder."
    return WriteError(f"{os.fspath(path)} cannot be written: {reason.rstrip('.')}. {advice}")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
