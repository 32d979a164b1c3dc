"""Encoded images to pixels inside a graph, as ``kdet.data.decoding.decode`` does outside of one.

The walk through the headers is written a second time: a graph cannot call Python, and takes a hundred
times as long as Python does outside of it. What it looks for and what it means stands in ``decoding``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.data import decoding
from kdet.typing import Tensor


def decode(encoded: Tensor) -> Tensor:
    """One image: scalar string of JPEG, PNG, BMP or GIF (first frame) -> ``[h,w,3]`` uint8 RGB.

    JPEG by the accurate integer transform; JPEG and PNG are turned as their EXIF orientation says.
    """
    jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    return tf.cond(jpeg, lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))


def _decode_jpeg(encoded: Tensor) -> Tensor:
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return turn(image, exif_orientation(encoded))


def _decode_other(encoded: Tensor) -> Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    orientation = tf.cond(png, lambda: png_orientation(encoded), lambda: 1)
    return turn(tf.ensure_shape(image, [None, None, 3]), orientation)


def turn(image: Tensor, orientation: Tensor) -> Tensor:
    """Applies an EXIF orientation: 5-8 are transposed first, then mirrored as 1-4."""

    def when(orientations: Sequence[int], change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        return tf.cond(
            tf.reduce_any(orientation == tf.constant(orientations)), lambda: change(image), lambda: image
        )

    image = when(decoding.TRANSPOSED, lambda x: tf.transpose(x, [1, 0, 2]), image)
    image = when(decoding.MIRRORED, lambda x: x[:, ::-1], image)
    return when(decoding.UPSIDE_DOWN, lambda x: x[::-1], image)


def exif_orientation(encoded: Tensor) -> Tensor:
    """The EXIF orientation (1..8) of JPEG bytes (scalar string), int32; 1 when there is none."""
    data = tf.io.decode_raw(encoded, tf.uint8)
    size = tf.size(data)

    def is_header(position: Tensor, found: Tensor) -> Tensor:
        header = _unsigned(data, position, 2)
        ends = tf.reduce_any(header == tf.constant([0xFF00 + decoding.SCAN, 0xFF00 + decoding.END], tf.int64))
        return (found < 0) & (position + 4 <= size) & (header // 256 == 0xFF) & ~ends

    def read(position: Tensor, found: Tensor) -> Any:
        marker = _unsigned(data, position + 1, 1)
        length = tf.cast(_unsigned(data, position + 2, 2), tf.int32)
        body = data[position + 4 : position + 2 + length]
        exif = tf.reduce_all(_bytes(body, tf.range(6)) == tf.constant(list(b"Exif\0\0"), tf.int64))
        exif &= marker == decoding.EXIF_MARKER
        found = tf.cond(exif, lambda: _orientation_of_tiff(body[6:]), lambda: found)
        return position + 2 + length, found

    start = (tf.constant(2), tf.constant(-1))
    return tf.maximum(tf.while_loop(is_header, read, start)[1], 1)


def png_orientation(encoded: Tensor) -> Tensor:
    """As ``exif_orientation``, of PNG bytes, which have it in a chunk of its own."""
    data = tf.io.decode_raw(encoded, tf.uint8)
    size = tf.size(data)

    def is_chunk(position: Tensor, found: Tensor) -> Tensor:
        return (found < 0) & (position + 8 <= size)

    def read(position: Tensor, found: Tensor) -> Any:
        length = tf.cast(tf.minimum(_unsigned(data, position, 4), tf.cast(size, tf.int64)), tf.int32)
        exif = _unsigned(data, position + 4, 4) == int.from_bytes(decoding.EXIF_CHUNK, "big")
        body = data[position + 8 : position + 8 + length]
        found = tf.cond(exif, lambda: _orientation_of_tiff(body), lambda: found)
        return position + 12 + length, found

    return tf.maximum(tf.while_loop(is_chunk, read, (tf.constant(8), tf.constant(-1)))[1], 1)


def _orientation_of_tiff(tiff: Tensor) -> Tensor:
    """Orientation in the first directory of a TIFF header (uint8 ``[n]``); 1 when there is none."""
    order = _unsigned(tiff, 0, 2)
    little = order == 0x4949
    first = tf.cast(_unsigned(tiff, 4, 4, little) & 0x7FFFFFFF, tf.int32)
    entries = tf.range(tf.minimum(_unsigned(tiff, first, 2, little), tf.size(tiff, tf.int64) // 12))
    at = first + 2 + 12 * tf.cast(entries, tf.int32)  # [entries]
    wanted = _unsigned(tiff, at, 2, little) == decoding.ORIENTATION_TAG
    wanted &= _unsigned(tiff, at + 2, 2, little) == decoding.ORIENTATION_TYPE
    values = tf.boolean_mask(_unsigned(tiff, at + 8, 2, little), wanted)
    value = tf.concat([values, [1]], 0)[0]
    known = (value >= 1) & (value <= 8) & (little | (order == 0x4D4D))
    return tf.cast(tf.where(known, value, 1), tf.int32)


def _bytes(data: Tensor, at: Tensor | int) -> Tensor:
    """int64 values of the bytes at positions ``at``; 0 beyond the end."""
    padded = tf.concat([data, [0]], 0)
    beyond = tf.size(data)
    return tf.cast(tf.gather(padded, tf.where((at >= 0) & (at < beyond), at, beyond)), tf.int64)


def _unsigned(data: Tensor, at: Tensor | int, count: int, little: Tensor | bool = False) -> Tensor:
    """Unsigned integers of ``count`` bytes that start at the positions ``at``, int64."""
    values = _bytes(data, tf.expand_dims(at, -1) + tf.range(count))  # [..., count]
    powers = tf.constant([256**k for k in range(count)], tf.int64)
    return tf.reduce_sum(values * tf.where(little, powers, powers[::-1]), -1)
