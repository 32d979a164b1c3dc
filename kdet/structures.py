"""The data contract: key names and padding values that every room agrees on.

See ``docs/architecture.md`` for the full tables. All functions work on TensorFlow tensors.
"""

import tensorflow as tf

INFO_KEYS = ("valid_size", "original_size", "scale", "flipped", "image_id", "proposals")
PADDING_LABEL = -1
# what ``predict`` pads images to: a batch to its own sides as in MMDetection, or to one of a few shapes
CANVASES = ("own", "buckets")


def check_canvas(canvas: str) -> None:
    """Raise a ``ValueError`` for what is none of ``CANVASES``."""
    if canvas not in CANVASES:
        raise ValueError(f"canvas must be one of {', '.join(map(repr, CANVASES))}; got {canvas!r}.")


def as_inputs(inputs):
    """Splits the first argument of a detector into images and ImageInfo.

    Args:
        inputs: an image tensor ``[B,H,W,3]`` or a dict with ``images`` and any of ``INFO_KEYS``.

    Returns:
        ``(images, info)`` where ``info`` always holds ``valid_size``, ``original_size`` and
        ``scale`` (float32 ``[B,2]``, y before x).

    Raises:
        ValueError: the inputs hold no images of this shape.
    """
    if isinstance(inputs, dict):
        info = {k: inputs[k] for k in INFO_KEYS if inputs.get(k) is not None}
        if "images" not in inputs:
            raise ValueError(
                f"The inputs lack 'images' [B,H,W,3]; they have {', '.join(inputs) or 'no key'}."
            )
        images = inputs["images"]
    else:
        info, images = {}, inputs
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4 or images.shape[3] not in (3, None):
        hint = (
            "a single image needs a batch axis too, images[None]" if images.shape.rank == 3 else "wrong shape"
        )
        raise ValueError(f"The inputs' images must be [B,H,W,3] RGB; got {images.shape} ({hint}).")
    shape = tf.shape(images)
    canvas = tf.cast(tf.broadcast_to(shape[1:3], [shape[0], 2]), tf.float32)
    info.setdefault("valid_size", canvas)
    info["valid_size"] = tf.cast(info["valid_size"], tf.float32)
    info.setdefault("scale", tf.ones_like(canvas))
    info["scale"] = tf.cast(info["scale"], tf.float32)
    info.setdefault("original_size", tf.round(info["valid_size"] / info["scale"]))
    return images, info


def size_as_box(size):
    """Sizes or factors ``[B,2]`` (y, x) laid out like boxes: ``[B,1,4]`` (x, y, x, y)."""
    return tf.stack([size[:, 1], size[:, 0]] * 2, axis=-1)[:, None, :]


def original_boxes(boxes, info):
    """Boxes ``[B,K,4]`` in network pixels as boxes in pixels of the original image, mirrored back."""
    if "flipped" in info:
        boxes = _mirrored(boxes, info)
    return boxes / size_as_box(info["scale"])


def network_boxes(boxes, info):
    """The inverse of ``original_boxes``."""
    boxes = boxes * size_as_box(info["scale"])
    return _mirrored(boxes, info) if "flipped" in info else boxes


def _mirrored(boxes, info):
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    width = info["valid_size"][:, 1, None]
    turned = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return tf.where(info["flipped"][:, None, None], turned, boxes)


def upright_masks(masks, info):
    """Masks ``[B,N,h,w]`` seen in the network's input, mirrored back."""
    if "flipped" not in info:
        return masks
    return tf.where(info["flipped"][:, None, None, None], masks[..., ::-1], masks)


def is_real_box(boxes):
    """True where a padded box list holds a box (positive width and height): ``[...]`` bool."""
    return tf.logical_and(boxes[..., 2] > boxes[..., 0], boxes[..., 3] > boxes[..., 1])
