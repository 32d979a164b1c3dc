"""The gate of the model: what people give as the ``x`` of ``fit`` becomes images and ImageInfo."""

from typing import Any, cast, get_args

import tensorflow as tf

from kdet.contract import Canvas, ImageInfo, Inputs, OptionalInputs, forms

INFO_KEYS = tuple(forms(OptionalInputs))
CANVASES: tuple[Canvas, ...] = get_args(Canvas)


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
    shape = tf.shape(images)
    canvas = tf.cast(tf.broadcast_to(shape[1:3], [shape[0], 2]), tf.float32)
    info["valid_size"] = tf.cast(info.get("valid_size", canvas), tf.float32)
    info["scale"] = tf.cast(info.get("scale", tf.ones_like(canvas)), tf.float32)
    info.setdefault("original_size", tf.round(info["valid_size"] / info["scale"]))
    return images, cast(ImageInfo, info)
