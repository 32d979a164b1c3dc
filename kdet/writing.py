"""Files and folders that appear whole or not at all, whatever becomes of the disk."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from kdet.errors import WriteError, first_line
from kdet.typing import PathLike


@contextlib.contextmanager
def whole(path: PathLike, size: int = 0) -> Iterator[pathlib.Path]:
    """Give a path beside ``path`` to write a file or a folder to; at the end it takes its place.

    After an error of any kind nothing is left of it, and what stood at ``path`` before still stands there.

    Args:
        path: where it is to stand; may be a URL (``kdet.storage``), to which it is sent at the end.
        size: so many bytes must be free beforehand: HDF5 does not survive a disk that becomes full.

    Raises:
        WriteError: the disk is full or fails.

    Example:
        >>> with whole("model.tflite") as part:
        ...     part.write_bytes(content)
    """
    from kdet import storage  # which keeps its copies in the cache below

    if storage.is_url(path):
        with storage.sent(str(path)) as part:
            yield part
        return
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


def cache_folder() -> pathlib.Path:
    """The folder of what kdet keeps, named by ``KDET_HOME`` (it need not exist yet)."""
    return pathlib.Path(os.environ.get("KDET_HOME") or "~/.cache/kdet").expanduser()


def check_target(path: PathLike, folder: bool, what: str) -> None:
    """Raise where ``path`` cannot become what is to be written, before the work is done.

    Args:
        path: of what is to be written.
        folder: whether that is a folder, not a file.
        what: for the message ("SavedModel").

    Raises:
        OSError: it is of the other kind, lies below a file, or the folder takes no file; naming it.
    """
    from kdet import storage

    if storage.is_url(path):
        storage.check_target(str(path))
        return
    path = pathlib.Path(path)
    if folder and path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, a {what} is a folder: name another one.")
    if not folder and path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a {what} file in it.")
    there = next(one for one in [path, *path.absolute().parents] if _exists(one))
    if not there.is_dir() and there != path:
        raise NotADirectoryError(f"{path} cannot be written: {there} is a file, not a folder.")
    try:  # rights alone do not tell
        tempfile.TemporaryFile(dir=there if there.is_dir() else there.parent).close()
    except OSError as error:
        raise PermissionError(
            f"{path} cannot be written: {there} takes no file ({error.strerror})."
        ) from error


def _exists(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except NotADirectoryError:  # below a file
        return False


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
