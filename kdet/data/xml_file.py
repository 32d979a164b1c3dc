"""XML annotation files: bounded, without entities, with errors that name the file."""

import xml.etree.ElementTree as ElementTree

from kdet.data import files
from kdet.errors import DataError
from kdet.typing import PathLike


def parse(path: PathLike, limit: int = files.MAX_TEXT_BYTES) -> ElementTree.Element:
    """The root of an XML file of at most ``limit`` bytes.

    Raises:
        MissingFile, DataError: no such file, too large, not valid, or it declares entities.
    """
    encoded = files.read_bytes(path, "annotation", limit)
    if b"<!ENTITY" in encoded or b"<\0!\0E\0N\0T" in encoded:
        raise DataError(f"{path} declares entities, which is refused; write plain XML.")
    try:
        return ElementTree.fromstring(encoded.removeprefix(b"\xef\xbb\xbf").strip())
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{path} is not valid XML: {error}.") from error
