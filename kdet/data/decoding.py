"""Encoded images -> RGB uint8 arrays, equal to what ``cv2.imread`` gives (with RGB order)."""

import os
import struct
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from kdet.data import files
from kdet.errors import DataError, KdetError, first_line, short
from kdet.typing import Pair, PathLike

_HEAD = 2**16  # bytes in which the headers of nearly every image lie

_STARTS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"BM": "bmp", b"GIF8": "gif"}
_FOREIGN = {
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\0\0\0": "AVIF or HEIC",
    b"<": "HTML or SVG",
}


# EXIF: the markers of a JPEG's segments, the tag in a TIFF directory and its type, what an orientation does
EXIF_MARKER, SCAN, END = 0xE1, 0xDA, 0xD9
EXIF_CHUNK = b"eXIf"  # of a PNG
ORIENTATION_TAG, ORIENTATION_TYPE = 0x0112, 3
TRANSPOSED, MIRRORED, UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


class CorruptImage(DataError):
    """The bytes are not a readable image, or not the image that the annotations describe."""


def max_pixels() -> int:
    """How many pixels an image may have (2**27, 400 MB); larger ones are refused before they are decoded.

    Raises:
        KdetError: the environment variable ``KDET_MAX_PIXELS``, which sets another limit, is no whole number
            from 1 on.
    """
    named = os.environ.get("KDET_MAX_PIXELS")
    if not named:
        return 2**27
    if not named.isdecimal() or int(named) < 1:
        raise KdetError(
            f"The environment variable KDET_MAX_PIXELS is a whole number from 1 on, not {named!r}."
        )
    return int(named)


def decode(encoded: bytes, orient: bool = True) -> np.ndarray:
    """Decodes JPEG, PNG, BMP or GIF (first frame) bytes to ``[h, w, 3]`` uint8 RGB.

    JPEG uses the accurate integer transform (TensorFlow's default is off by up to 4 levels). With
    ``orient`` the EXIF orientation is applied, as OpenCV does.

    Raises:
        CorruptImage: the bytes are of another kind, of more than ``max_pixels()``, or cannot be decoded (a
            truncated JPEG included).
    """
    stored_size(encoded)
    try:
        with tf.device("CPU"):
            if encoded[:2] == b"\xff\xd8":
                image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
            else:
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        raise CorruptImage(f"cannot be decoded ({first_line(error)})") from error
    image = image.numpy()
    return _turn(image, exif_orientation(encoded)) if orient else image


def kind_of(encoded: bytes) -> str:
    """``"jpeg"``, ``"png"``, ``"bmp"`` or ``"gif"``, by the first bytes.

    Raises:
        CorruptImage: another kind.
    """
    for start, kind in _STARTS.items():
        if encoded.startswith(start):
            return kind
    if not encoded:
        raise CorruptImage("cannot be decoded: it is empty")
    found = next((name for start, name in _FOREIGN.items() if encoded.startswith(start)), None)
    what = f"is {found}, not" if found else f"starts with {short(bytes(encoded[:8]))}, so it is not"
    raise CorruptImage(f"cannot be decoded: it {what} JPEG, PNG, BMP or GIF")


def stored_size(encoded: bytes) -> Pair:
    """(h, w) of the image as it lies in the file, from its header alone.

    Raises:
        CorruptImage: no header, or more than ``max_pixels()``.
    """
    kind = kind_of(encoded)
    try:
        if kind == "jpeg":
            height, width = _jpeg_size(encoded)
        elif kind == "png":
            width, height = struct.unpack_from(">II", encoded, 16)
        elif kind == "gif":
            width, height = struct.unpack_from("<HH", encoded, 6)
        else:
            width, height = struct.unpack_from("<ii", encoded, 18)
    except struct.error as error:
        raise CorruptImage("cannot be decoded: it is cut off within its header") from error
    height = abs(height)  # a BMP from top to bottom
    if height <= 0 or width <= 0:
        raise CorruptImage(f"has a size of {height}x{width} (h x w) in its header")
    if height * width > (limit := max_pixels()):
        raise CorruptImage(
            f"has {height}x{width} (h x w) pixels by its header; at most {limit} are decoded "
            "(environment variable KDET_MAX_PIXELS)"
        )
    return height, width


def _jpeg_size(encoded: bytes) -> Pair:
    """(h, w) from the first frame header."""
    position = 2
    while position + 9 <= len(encoded):
        if encoded[position] != 0xFF:
            raise CorruptImage("cannot be decoded: it has no JPEG header")
        marker = encoded[position + 1]
        if marker == 0xFF:  # filling
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack_from(">HH", encoded, position + 5)
        if marker in (0x01, *range(0xD0, 0xD8)):  # without a length
            position += 2
            continue
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        position += 2 + max(length, 2)
    raise CorruptImage("cannot be decoded: it has no JPEG header")


def size_of(encoded: bytes) -> Pair:
    """(h, w) of the decoded image after its EXIF orientation.

    Raises:
        CorruptImage: as ``decode``.
    """
    height, width = stored_size(encoded)
    return (width, height) if exif_orientation(encoded) in TRANSPOSED else (height, width)


def size_of_file(path: PathLike) -> Pair:
    """(h, w) of an image file after its EXIF orientation, of which only the headers are read.

    Raises:
        MissingFile, CorruptImage: the file is gone, no regular file, or no image.
    """
    with files.open_regular(path, "image", CorruptImage) as file:
        try:
            head = file.read(_HEAD)
            if head.startswith(b"\x89PNG\r\n\x1a\n"):
                head = head[:33] + _exif_chunk(file)
            try:
                return size_of(head)
            except CorruptImage:
                if len(head) < _HEAD:
                    raise
                file.seek(0)
                return size_of(file.read(files.MAX_IMAGE_BYTES))
        except OSError as error:
            raise CorruptImage(f"{path} cannot be read: {error.strerror}") from error


def _exif_chunk(file: BinaryIO) -> bytes:
    """The whole ``eXIf`` chunk of a PNG file; its pixels are not read."""
    position = 8
    while True:
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            return b""
        length, kind = struct.unpack(">I4s", start)
        if kind == b"eXIf":
            return start + file.read(min(length, _HEAD) + 4)
        position += 12 + length


def load(image: Any) -> np.ndarray:
    """An ``[h, w, 3]`` uint8 RGB array from a path, encoded bytes or an array (gray is repeated).

    Raises:
        FileNotFoundError, CorruptImage, TypeError: naming the image and what to pass instead.
    """
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        encoded = files.read_bytes(path, "image", error=CorruptImage)
        try:
            return decode(encoded)
        except CorruptImage as error:
            raise CorruptImage(f"{path} {error}") from error
    if isinstance(image, (bytes, bytearray)):
        try:
            return decode(bytes(image))
        except CorruptImage as error:
            raise CorruptImage(f"An encoded image {error}") from error
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise TypeError(
            f"An image must be a path, encoded bytes or an array [h, w, 3]; got shape {array.shape}."
        )
    if array.dtype != np.uint8:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TypeError("Image values must be 0..255 RGB; some are NaN or infinite.")
        if array.dtype.kind not in "iuf" or array.min(initial=0) < 0 or array.max(initial=0) > 255:
            raise TypeError(f"Image values must be 0..255 RGB; got {array.dtype} outside that range.")
        if array.dtype.kind == "f" and array.size and array.max() <= 1 and (array % 1).any():
            raise TypeError("Image values look scaled to 0..1; kdet takes RGB in 0..255, not normalized.")
        array = np.rint(array).astype(np.uint8)
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return array[..., :3]


def exif_orientation(encoded: bytes) -> int:
    """The EXIF orientation (1..8) of JPEG or PNG bytes; 1 when there is none or it is unreadable."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return _orientation_of_tiff(_png_chunk(encoded, EXIF_CHUNK))
    position = 2
    while encoded[:2] == b"\xff\xd8" and position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in (SCAN, END):  # the scan starts: no headers follow
            break
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        body = encoded[position + 4 : position + 2 + length]
        if marker == EXIF_MARKER and body[:6] == b"Exif\0\0":
            return _orientation_of_tiff(body[6:])
        position += 2 + length
    return 1


def _png_chunk(encoded: bytes, wanted: bytes) -> bytes:
    """The content of the first chunk of that kind; empty when there is none."""
    position = 8
    while position + 8 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, position)
        if kind == wanted:
            return encoded[position + 8 : position + 8 + length]
        position += 12 + length
    return b""


def _orientation_of_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    try:
        if order:
            (start,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, start)
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
                if tag == ORIENTATION_TAG and kind == ORIENTATION_TYPE:
                    return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation: 5-8 are transposed first, then mirrored as 1-4."""
    if orientation in TRANSPOSED:
        image = image.transpose(1, 0, 2)
    if orientation in MIRRORED:
        image = image[:, ::-1]
    if orientation in UPSIDE_DOWN:
        image = image[::-1]
    return np.ascontiguousarray(image)
