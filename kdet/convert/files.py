"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from kdet.typing import PathLike


@contextlib.contextmanager
def atomic_path(target: PathLike) -> Iterator[pathlib.Path]:
    """A temporary path beside ``target`` that takes its name when the block ends without an error.

    Raises:
        OSError: naming the folder that cannot be written.
    """
    path = pathlib.Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise OSError(f"The folder {path.parent} cannot be written ({error.strerror}).") from error
    os.close(handle)
    partial = pathlib.Path(name)
    try:
        yield partial
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
