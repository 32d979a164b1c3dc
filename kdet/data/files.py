"""Files that a user names, by a path or a URL: only regular ones are opened, within a size, and the error
names the path."""

import json
import os
import re
import stat
from typing import Any, BinaryIO

from kdet import storage
from kdet.errors import DataError, MissingFile, first_line, short
from kdet.typing import PathLike

MAX_IMAGE_BYTES = 2**30
MAX_TEXT_BYTES = 2**26  # one XML file, one split file
# each of them is known to some systems only
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_bytes(
    path: PathLike, what: str = "file", limit: int = MAX_IMAGE_BYTES, error: type[Exception] = DataError
) -> bytes:
    """The bytes of a regular file.

    Args:
        path: where it is.
        what: what it should be, for messages ("image", "VOC split file").
        limit: most bytes that are read.
        error: the class of what is raised when there is a file but it cannot be used.

    Raises:
        MissingFile: there is no such file.
        DataError: it is no regular file (a folder, a pipe, a device), larger than ``limit``, or may not be
            read.
    """
    with open_regular(path, what, error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise error(f"The {what} {path} has {size} bytes; at most {limit} are read.")
        try:
            return file.read(size + 1)
        except OSError as fault:
            raise error(f"The {what} {path} cannot be read: {fault.strerror}.") from fault


def open_regular(path: PathLike, what: str = "file", error: type[Exception] = DataError) -> BinaryIO:
    """Opens a regular file, or the copy of one behind a URL, for reading bytes; raises as
    :func:`read_bytes`."""
    if storage.is_url(path):
        path = storage.local(str(path), error)
    try:
        name = os.fspath(path)
        # a pipe without a writer would block here, a terminal could become the controlling one
        handle = os.open(name, os.O_RDONLY | _FLAGS)
    except FileNotFoundError as fault:
        raise MissingFile(f"The {what} {path} does not exist.") from fault
    except (OSError, ValueError, TypeError) as fault:  # NUL in a name is a ValueError
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
        raise error(f"The {what} {short(str(path))} cannot be opened: {reason}.") from fault
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file (a pipe or a device)"
            raise error(f"The {what} {path} is {kind}; name a file.")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text(
    path: PathLike, what: str = "file", limit: int = MAX_TEXT_BYTES, error: type[Exception] = DataError
) -> str:
    """The text of a UTF-8 file, without a byte-order mark; raises as :func:`read_bytes`."""
    return as_text(read_bytes(path, what, limit, error), path, what, error)


def as_text(encoded: bytes, path: PathLike, what: str = "file", error: type[Exception] = DataError) -> str:
    """Decodes UTF-8 (or UTF-16 with a byte-order mark)."""
    utf16 = encoded[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return encoded.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"The {what} {path} is not UTF-8 text (byte {fault.start}); save it as UTF-8.") from fault


def read_json(path: PathLike, what: str = "JSON file", once: Any = ()) -> Any:
    """The content of a JSON file.

    Args:
        path: where it is.
        what: what it should be, for messages.
        once: keys that may stand in the whole file once only (of two, JSON would silently take the last).

    Raises:
        DataError: as :func:`read_bytes`; no JSON, nested too deeply, or one of ``once`` twice at the top.
    """
    text = as_text(read_bytes(path, what, limit=2**40), path, what)
    try:
        content = json.loads(text)
    except RecursionError as fault:
        raise DataError(f"The {what} {path} is nested too deeply to be read.") from fault
    except ValueError as fault:
        raise DataError(f"The {what} {path} is not valid JSON: {first_line(fault)}.") from fault
    if any(text.count(f'"{key}"') > 1 and _stands_twice(text, key) for key in once):
        pairs = json.loads(text, object_pairs_hook=lambda found: found)
        names = [key for key, _ in pairs]
        twice = [key for key in once if names.count(key) > 1]
        if twice:
            raise DataError(f"The {what} {path} has the key {twice[0]!r} twice; join the two.")
    return content


def _stands_twice(text: str, key: str) -> bool:
    return len(re.findall(rf'"{key}"\s*:', text)) > 1
