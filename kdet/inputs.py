"""The gate of the model: what people give as the ``x`` of ``fit`` becomes images and ImageInfo."""

from typing import Any, cast, get_args

import tensorflow as tf

from kdet.checks import require
from kdet.contract import Canvas, ImageInfo, Inputs, OptionalInputs, forms
from kdet.errors import first_line

FORMS = forms(OptionalInputs)
INFO_KEYS = tuple(FORMS)
CANVASES: tuple[Canvas, ...] = get_args(Canvas)


def own_side(side: Any, divisor: int = 1, center_pad: int | None = None) -> Any:
    """The side of an image's own canvas: the next multiple of ``divisor``, or ``side | center_pad``.

    Args:
        side: whole number or tensor of such.
        divisor: of the preprocessor.
        center_pad: of the preprocessor (CornerNet), which goes before.
    """
    return -(-side // divisor) * divisor if center_pad is None else side | center_pad


def check_canvas(canvas: str) -> None:
    """Raise a ``ValueError`` for what is none of ``CANVASES``."""
    if canvas not in CANVASES:
        raise ValueError(f"canvas must be one of {', '.join(map(repr, CANVASES))}; got {canvas!r}.")


def as_inputs(inputs: Inputs | tf.Tensor) -> tuple[tf.Tensor, ImageInfo]:
    """Split the first argument of a detector into images and ImageInfo.

    Args:
        inputs: an image tensor ``[B,H,W,3]`` or a dict with ``images`` and any of ``INFO_KEYS``.

    Returns:
        ``(images, info)`` where ``info`` always holds ``valid_size``, ``original_size`` and
        ``scale`` (float32 ``[B,2]``, y before x).

    Raises:
        ValueError: the inputs hold no images of this shape.
    """
    given: dict[str, Any] = dict(inputs) if isinstance(inputs, dict) else {"images": inputs}
    if "images" not in given:
        raise ValueError(f"The inputs lack 'images' [B,H,W,3]; they have {', '.join(given) or 'no key'}.")
    info = {key: given[key] for key in INFO_KEYS if given.get(key) is not None}
    images = tf.convert_to_tensor(given["images"])
    if images.shape.rank != 4 or images.shape[3] not in (3, None):
        hint = (
            "a single image needs a batch axis too, images[None]" if images.shape.rank == 3 else "wrong shape"
        )
        raise ValueError(f"The inputs' images must be [B,H,W,3] RGB; got {images.shape} ({hint}).")
    if images.dtype == tf.string or images.dtype == tf.bool or images.dtype.is_complex:
        raise ValueError(f"The inputs' images must be numbers of 0..255; got {images.dtype.name}.")
    info = {key: _checked(key, value) for key, value in info.items()}
    shape = tf.shape(images)
    canvas = tf.cast(tf.broadcast_to(shape[1:3], [shape[0], 2]), tf.float32)
    info["valid_size"] = tf.cast(info.get("valid_size", canvas), tf.float32)
    info["scale"] = tf.cast(info.get("scale", tf.ones_like(canvas)), tf.float32)
    info.setdefault("original_size", tf.round(info["valid_size"] / info["scale"]))
    return images, cast(ImageInfo, info)


def _checked(key: str, value: Any) -> tf.Tensor:
    """What is said about the images, in the form of the data contract."""
    form = FORMS[key]
    try:
        value = tf.convert_to_tensor(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The inputs' {key} are no array {form.shape}: {first_line(error)}") from error
    last = value.shape[-1] if value.shape.rank else None
    pair = key in ("valid_size", "original_size", "scale")
    if value.shape.rank not in (form.rank, None) or (pair and last not in (2, None)):
        raise ValueError(f"The inputs' {key} must be {form.shape}; got the shape {value.shape}.")
    if value.dtype == tf.string or value.dtype.is_complex:
        raise ValueError(f"The inputs' {key} must be numbers; got {value.dtype.name}.")
    return value


def check_finite(inputs: Inputs | tf.Tensor) -> None:
    """Raise when images or what is said about them hold NaN or infinity; works in a graph too.

    Integers are not looked at.

    Raises:
        ValueError: naming the key and the first image of the batch; see ``kdet.checks.require``.
    """
    given: dict[str, Any] = dict(inputs) if isinstance(inputs, dict) else {"images": inputs}
    for key, value in given.items():
        value = tf.convert_to_tensor(value)
        if not value.dtype.is_floating or key not in ("images", *INFO_KEYS):
            continue
        finite = tf.reduce_all(tf.reshape(tf.math.is_finite(value), [tf.shape(value)[0], -1]), 1)  # [B]
        require(
            tf.reduce_all(finite),
            f"The inputs' {key} hold NaN or infinite numbers (image {{}} of the batch): kdet takes RGB in "
            "0..255 and sizes in pixels.",
            tf.argmin(tf.cast(finite, tf.int32)),
        )
