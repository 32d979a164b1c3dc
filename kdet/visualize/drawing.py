"""Boxes, masks and labels on one image."""

import colorsys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdet.typing import Array

with warnings.catch_warnings():  # it does without OpenCV, and kdet says where OpenCV would help
    warnings.filterwarnings("ignore", "OpenCV", UserWarning)
    import supervision

_GOLDEN = 0.61803398875  # steps of the hue that never come near each other soon


def draw(
    image: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    scores: ArrayLike | None = None,
    masks: ArrayLike | None = None,
    outline: bool = False,
) -> Array:
    """Draws objects on a copy of an image.

    Args:
        image: ``[h, w, 3]`` uint8 RGB.
        boxes: ``[n, 4]`` xyxy in pixels of the image.
        labels: ``[n]`` int; each class has its own color. Rows with -1 are padding.
        class_names: names by label; None writes the numbers.
        scores: ``[n]``, written behind the name.
        masks: ``[n, h, w]`` bool or 0/1, at the size of the image.
        outline: boxes only, without text.

    Returns:
        ``[h, w, 3]`` uint8 RGB.

    Raises:
        ValueError: lengths or sizes that do not go together, or a label without a name.
    """
    image, labels = np.array(image, np.uint8), np.asarray(labels, int)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    given: dict[str, Any] = {"boxes": boxes, "scores": scores, "masks": masks}
    for name, values in given.items():
        if values is not None and len(values) != len(labels):
            raise ValueError(f"draw: {len(labels)} labels but {len(values)} {name}.")
    if masks is not None and np.shape(masks)[1:] != image.shape[:2]:
        raise ValueError(f"draw: masks of size {np.shape(masks)[1:]} on an image of {image.shape[:2]}.")
    if class_names is not None and labels.max(initial=-1) >= len(class_names):
        raise ValueError(f"draw: label {labels.max()} but only {len(class_names)} class names.")
    keep = labels >= 0
    if not keep.any():
        return image
    detections = supervision.Detections(
        xyxy=boxes[keep],
        class_id=labels[keep],
        mask=None if masks is None else np.asarray(masks)[keep].astype(bool),
    )
    style: dict[str, Any] = {"color": _palette(int(labels.max()) + 1)}
    # supervision draws through OpenCV, which takes BGR.
    canvas = np.ascontiguousarray(image[..., ::-1])
    if masks is not None:
        canvas = supervision.MaskAnnotator(**style, opacity=0.45).annotate(canvas, detections)
    size = max(image.shape[:2]) / 1000
    thickness = max(1, round(2 * size))
    canvas = supervision.BoxAnnotator(**style, thickness=thickness).annotate(canvas, detections)
    if not outline:
        writer = supervision.LabelAnnotator(
            **style, text_scale=max(0.35, 0.5 * size), text_padding=max(2, round(4 * size))
        )
        texts = _texts(labels[keep], class_names, None if scores is None else np.asarray(scores)[keep])
        canvas = writer.annotate(canvas, detections, texts)
    return canvas[..., ::-1].copy()


def draw_detections(
    image: ArrayLike,
    detections: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    threshold: float = 0.3,
) -> Array:
    """Draws one image's entry of ``model.predict`` from ``threshold`` on.

    Args:
        image: ``[h, w, 3]`` uint8 RGB.
        detections: dict with ``boxes [N,4]``, ``scores [N]``, ``labels [N]`` (-1 = padding) and, where the
            model has them, ``masks [N,h,w]``, in pixels of ``image``.
        class_names: names by label.
        threshold: lowest score drawn.
    """
    scores = np.asarray(detections["scores"])
    keep = (scores >= threshold) & (np.asarray(detections["labels"]) >= 0)
    order = np.flatnonzero(keep)[np.argsort(scores[keep], kind="stable")]  # best on top
    chosen: dict[str, Any] = {k: np.asarray(detections[k])[order] for k in ("boxes", "labels", "scores")}
    masks = detections.get("masks")
    if masks is not None:
        chosen["masks"] = np.asarray(masks)[order]
    return draw(image, class_names=class_names, **chosen)


def _texts(labels: Array, class_names: Sequence[str] | None, scores: Array | None) -> list[str]:
    names = [str(label) if class_names is None else class_names[label] for label in labels]
    return names if scores is None else [f"{n} {s:.2f}" for n, s in zip(names, scores, strict=True)]


def _palette(count: int) -> supervision.ColorPalette:
    """Colors that differ for neighboring classes and stay the same whatever else is drawn."""
    colors = []
    for label in range(count):
        hue = (0.02 + label * _GOLDEN) % 1
        rgb = colorsys.hsv_to_rgb(hue, 0.85, 0.8 if label % 2 else 0.95)
        colors.append(supervision.Color(*(int(255 * v) for v in rgb)))
    return supervision.ColorPalette(colors)
