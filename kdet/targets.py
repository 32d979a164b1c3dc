"""The gate of training: what people give as the ``y`` of ``fit`` becomes the targets of the data contract."""

import difflib
from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf

from kdet.checks import require
from kdet.contract import PADDING_LABEL, Targets, forms
from kdet.typing import Tensor

FORMS = forms(Targets)
CONTRACT = (
    "Targets are a dict of boxes [B,G,4] (x1, y1, x2, y2 in pixels of the images), labels [B,G] (from 0 on; "
    "-1 where a row is padding) and, where they are needed, ignore_boxes [B,I,4], masks [B,G,H,ceil(W/8)] "
    "(np.packbits along the width) and semantic [B,h,w]"
)


def as_targets(targets: Mapping[str, Any], images: tf.Tensor, num_classes: int | None = None) -> Targets:
    """The targets of a batch in the dtypes, ranks and padding of the data contract.

    Args:
        targets: by the names in ``FORMS``; arrays, tensors or ragged tensors of any real dtype. Floating
            labels must be whole numbers. ``[B,0,4]`` stands for images without objects.
        images: ``[B,H,W,3]`` as they came in, not normalized.
        num_classes: classes of the model; None: labels are not looked at.

    Returns:
        the same keys; at least one row of objects per image, which may be padding.

    Raises:
        ValueError: naming the key and what it should be. Values inside a graph are checked when it runs, see
            ``kdet.checks.require``.
    """
    if not isinstance(targets, dict):
        raise ValueError(f"{CONTRACT}; got {'nothing' if targets is None else type(targets).__name__}.")
    for key in targets:
        if key not in FORMS:
            near = difflib.get_close_matches(str(key), FORMS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out."
            raise ValueError(f"Targets have no key {key!r}; {hint} {CONTRACT}.")
    for key in ("boxes", "labels"):
        if targets.get(key) is None:
            raise ValueError(f"Targets lack {key!r}; they have {', '.join(targets) or 'no key'}. {CONTRACT}.")
    found = {key: _tensor(key, value) for key, value in targets.items() if value is not None}
    _check_shapes(found, images)
    found = {key: _cast(key, value) for key, value in found.items()}
    if found["labels"].shape[1] == 0:
        found = {
            **found,
            **_one_row({key: found[key] for key in found if key in ("boxes", "labels", "masks")}),
        }
    _check_labels(found["labels"], num_classes)
    _check_boxes(found, images)
    return cast(Targets, found)


def check_images(images: tf.Tensor, step: tf.Tensor | int = 0) -> None:
    """Raise when images hold NaN or infinity, or look scaled to 0..1; they are RGB in 0..255 here.

    Integers are not looked at. Black images, and such of one color, pass. Scaling is not looked for after the
    first ``step`` (0): who scales does so from the beginning, and a dark frame must not stop a long run.
    """
    if not images.dtype.is_floating:
        return
    images = tf.cast(images, tf.float32)
    low, high = tf.reduce_min(images), tf.reduce_max(images)
    require(
        tf.reduce_all(tf.math.is_finite(images)), "The images hold NaN or infinite values; kdet takes 0..255."
    )
    scaled = (low >= 0.0) & (high <= 1.0) & (high > low) & tf.reduce_any(images % 1.0 > 0.0)
    require(
        ~scaled | (tf.cast(step, tf.int64) > 0),
        "The images look scaled to 0..1 (the largest value of the batch is {}); kdet takes RGB in 0..255 and "
        "normalizes inside of the model. Multiply them by 255.",
        high,
    )


def _tensor(key: str, value: Any) -> Any:
    rank, padding = FORMS[key].rank, FORMS[key].padding
    try:
        if isinstance(value, tf.RaggedTensor):
            if value.shape.rank != rank:
                return value  # for the check of shapes
            inner: list[int | None] = [None] * (rank - 1)
            if key.endswith("boxes"):
                inner[-1] = 4  # also where no image has an object
            return value.to_tensor(tf.cast(padding, value.dtype), shape=[None, *inner])
        return tf.convert_to_tensor(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The targets' {key} are no array ({str(error).splitlines()[0]}): pad the rows of every image to "
            f"one number, or give a tf.RaggedTensor. {CONTRACT}."
        ) from error


def _check_shapes(found: dict[str, Any], images: Tensor) -> None:
    rows = {}
    for key, value in found.items():
        rank = FORMS[key].rank
        if value.shape.rank != rank:
            hint = "a single image needs a batch axis too" if value.shape.rank == rank - 1 else "wrong rank"
            raise ValueError(f"The targets' {key} have shape {value.shape} ({hint}). {CONTRACT}.")
        if key.endswith("boxes") and value.shape[2] not in (4, None):
            raise ValueError(
                f"The targets' {key} have shape {value.shape}, not four numbers each. {CONTRACT}."
            )
        if value.dtype == tf.string or value.dtype.is_complex:
            raise ValueError(f"The targets' {key} are {value.dtype.name}, not numbers. {CONTRACT}.")
        if None not in (value.shape[0], images.shape[0]) and value.shape[0] != images.shape[0]:
            raise ValueError(f"The targets' {key} are of {value.shape[0]} images, not {images.shape[0]}.")
        rows[key] = value.shape[1]
    for key in ("labels", "masks"):
        if None not in (rows["boxes"], rows.get(key)) and rows[key] != rows["boxes"]:
            raise ValueError(f"The targets hold {rows['boxes']} boxes per image but {rows[key]} {key}.")
    if "masks" in found:
        width, bits = found["masks"].shape[3], images.shape[2]
        if None not in (width, bits) and width != (bits + 7) // 8:
            raise ValueError(
                f"The targets' masks have shape {found['masks'].shape}; for images {bits} wide the last axis "
                f"is {(bits + 7) // 8}: pack them by np.packbits(masks, axis=-1)."
            )


def _cast(key: str, value: Tensor) -> Tensor:
    kind = FORMS[key].dtype
    if key == "labels" and value.dtype.is_floating:
        whole = tf.reduce_all(tf.equal(value, tf.round(value)))
        require(whole, "The targets' labels must be whole numbers; they are fractions or NaN.")
    return value if value.dtype == kind else tf.cast(value, kind)


def _one_row(found: dict[str, Tensor]) -> dict[str, Tensor]:
    padding = {key: FORMS[key].padding for key in found}
    return {
        key: tf.pad(v, [[0, 0], [0, 1]] + [[0, 0]] * (v.shape.rank - 2), constant_values=padding[key])
        for key, v in found.items()
    }


def _check_labels(labels: Tensor, num_classes: int | None) -> None:
    if num_classes is None:
        return
    low, high = tf.reduce_min(labels), tf.reduce_max(labels)
    require(
        (low >= PADDING_LABEL) & (high < num_classes),
        f"The targets hold labels from {{}} to {{}}, but the model has {num_classes} classes: labels count "
        f"from 0 to {num_classes - 1}, and -1 is padding. Subtract 1 from labels that count from 1, or build "
        "the model with num_classes= of the data.",
        low,
        high,
    )


def _check_boxes(found: dict[str, Tensor], images: Tensor) -> None:
    boxes, real = found["boxes"], (found["labels"] != PADDING_LABEL)[..., None]
    boxes = tf.where(real, boxes, 0.0)
    require(tf.reduce_all(tf.math.is_finite(boxes)), "The targets' boxes hold NaN or infinite numbers.")
    require(
        tf.reduce_all(boxes[..., 2:] >= boxes[..., :2]),
        "The targets hold a box with x2 < x1 or y2 < y1: boxes are x1, y1, x2, y2, not x, y, width, height.",
    )
    largest = tf.reduce_max(boxes)
    require(
        ~tf.reduce_any(real) | (largest > 1.0),
        "The targets' boxes look scaled to 0..1 (the largest number is {}); kdet takes pixels of the images: "
        "multiply x by the width and y by the height.",
        largest,
    )
    shape = tf.shape(images)
    size = tf.cast(tf.stack([shape[2], shape[1]]), tf.float32)
    require(
        tf.reduce_all(boxes[..., :2] < size),
        "The targets hold a box that begins outside of the images (height and width {}): boxes are in pixels "
        "of the images as the model gets them, after resizing.",
        shape[1:3],
    )
