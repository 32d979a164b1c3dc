"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import tempfile


@contextlib.contextmanager
def atomic_path(target):
    """A temporary path beside ``target`` that takes its name when the block ends without an error.

    Raises:
        OSError: naming the folder that cannot be written.
    """
    target = pathlib.Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise OSError(f"The folder {target.parent} cannot be written ({error.strerror}).") from error
    os.close(handle)
    partial = pathlib.Path(name)
    try:
        yield partial
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
