"""Whether an export can be written where it shall go, asked before the work is done."""

import pathlib
import tempfile

from kdet.export.formats import Format
from kdet.typing import PathLike


def check(path: PathLike, chosen: Format) -> None:
    """Raises OSError where ``path`` cannot become what is exported.

    Args:
        path: of the export.
        chosen: the format, which says whether it is a folder or a file.
    """
    path = pathlib.Path(path)
    if chosen.folder and path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, a {chosen.title} is a folder: name another one.")
    if not chosen.folder and path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a {chosen.title} file in it.")
    there = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    if not there.is_dir() and there != path:
        raise NotADirectoryError(f"{path} cannot be written: {there} is a file, not a folder.")
    try:  # rights alone do not tell
        tempfile.TemporaryFile(dir=there if there.is_dir() else there.parent).close()
    except OSError as error:
        raise PermissionError(
            f"{path} cannot be written: {there} takes no file ({error.strerror})."
        ) from error
