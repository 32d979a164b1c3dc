"""Encoded pictures -> RGB uint8 arrays, equal to what ``cv2.imread`` gives (with RGB order)."""

import os
import struct

import numpy as np
import tensorflow as tf


class CorruptPicture(ValueError):
    """The bytes are not a readable picture, or not the picture that the annotations describe."""


def decode(encoded, orient=True):
    """Decodes JPEG, PNG, BMP or GIF (first frame) bytes to ``[h, w, 3]`` uint8 RGB.

    JPEG uses the accurate integer transform (TensorFlow's default is off by up to 4 levels). With
    ``orient`` the EXIF orientation is applied, as OpenCV does.

    Raises:
        CorruptPicture: the bytes cannot be decoded (a truncated JPEG included).
    """
    try:
        with tf.device("CPU"):
            if encoded[:2] == b"\xff\xd8":
                image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
            else:
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        raise CorruptPicture(f"cannot be decoded ({_first_line(error)})") from error
    image = image.numpy()
    return _turn(image, exif_orientation(encoded)) if orient else image


def size_of(encoded):
    """(h, w) of the decoded picture after its EXIF orientation.

    Raises:
        CorruptPicture: as ``decode``.
    """
    if encoded[:2] != b"\xff\xd8":
        return decode(encoded).shape[:2]
    try:
        height, width, _ = tf.io.extract_jpeg_shape(encoded).numpy().tolist()
    except tf.errors.InvalidArgumentError as error:
        raise CorruptPicture(f"has no JPEG header ({_first_line(error)})") from error
    return (width, height) if exif_orientation(encoded) >= 5 else (height, width)


def load(picture):
    """An ``[h, w, 3]`` uint8 RGB array from a path, encoded bytes or an array (gray is repeated).

    Raises:
        FileNotFoundError, CorruptPicture, TypeError: naming the picture and what to pass instead.
    """
    if isinstance(picture, (str, os.PathLike)):
        path = os.fspath(picture)
        with open(path, "rb") as file:
            encoded = file.read()
        try:
            return decode(encoded)
        except CorruptPicture as error:
            raise CorruptPicture(f"{path} {error}") from error
    if isinstance(picture, (bytes, bytearray)):
        return decode(bytes(picture))
    array = np.asarray(picture)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise TypeError(
            f"A picture must be a path, encoded bytes or an array [h, w, 3]; got shape {array.shape}."
        )
    if array.dtype != np.uint8:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TypeError("Picture values must be 0..255 RGB; some are NaN or infinite.")
        if array.dtype.kind not in "iuf" or array.min(initial=0) < 0 or array.max(initial=0) > 255:
            raise TypeError(f"Picture values must be 0..255 RGB; got {array.dtype} outside that range.")
        if array.dtype.kind == "f" and array.size and array.max() <= 1 and (array % 1).any():
            raise TypeError("Picture values look scaled to 0..1; kdet takes RGB in 0..255, not normalised.")
        array = np.rint(array).astype(np.uint8)
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return array[..., :3]


def exif_orientation(encoded):
    """The EXIF orientation (1..8) of JPEG or PNG bytes; 1 when there is none or it is unreadable."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return _orientation_of_tiff(_png_chunk(encoded, b"eXIf"))
    position = 2
    while encoded[:2] == b"\xff\xd8" and position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in (0xDA, 0xD9):  # the scan starts: no headers follow
            break
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        body = encoded[position + 4 : position + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\0\0":
            return _orientation_of_tiff(body[6:])
        position += 2 + length
    return 1


def _png_chunk(encoded, wanted):
    """The content of the first chunk of that kind; empty when there is none."""
    position = 8
    while position + 8 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, position)
        if kind == wanted:
            return encoded[position + 8 : position + 8 + length]
        position += 12 + length
    return b""


def _orientation_of_tiff(tiff):
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    try:
        if order:
            (start,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, start)
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
                if tag == 0x0112 and kind == 3:
                    return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _turn(image, orientation):
    """Applies an EXIF orientation: 5-8 are transposed first, then mirrored as 1-4."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _first_line(error):
    return str(getattr(error, "message", error)).strip().splitlines()[0]
