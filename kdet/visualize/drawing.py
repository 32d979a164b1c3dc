"""Boxes, masks and labels on one image."""

import colorsys
import functools
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kdet.typing import Array

if TYPE_CHECKING:
    import supervision

_GOLDEN = 0.61803398875  # steps of the hue that never come near each other soon


@functools.cache
def _supervision() -> types.ModuleType:
    with warnings.catch_warnings():  # it does without OpenCV, and kdet says where OpenCV would help
        warnings.filterwarnings("ignore", "OpenCV", UserWarning)
        import supervision  # import time is precious
    return supervision


def draw(
    image: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    scores: ArrayLike | None = None,
    masks: ArrayLike | None = None,
    tracks: ArrayLike | None = None,
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
        tracks: ``[n]`` int, numbers of followed objects, written before the name.
        outline: boxes only, without text.

    Returns:
        ``[h, w, 3]`` uint8 RGB.

    Raises:
        ValueError: lengths or sizes that do not go together, or a label without a name.
    """
    image, labels = np.array(image, np.uint8), np.asarray(labels, int)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    given: dict[str, Any] = {"boxes": boxes, "scores": scores, "masks": masks, "tracks": tracks}
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
    supervision = _supervision()
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
        if tracks is not None:
            texts = [f"#{n} {text}" for n, text in zip(np.asarray(tracks)[keep], texts, strict=True)]
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
            model has them, ``masks [N,h,w]``, in pixels of ``image``; ``tracks [N]`` of followed objects.
        class_names: names by label.
        threshold: lowest score drawn.
    """
    scores = np.asarray(detections["scores"])
    keep = (scores >= threshold) & (np.asarray(detections["labels"]) >= 0)
    order = np.flatnonzero(keep)[np.argsort(scores[keep], kind="stable")]  # best on top
    chosen: dict[str, Any] = {k: np.asarray(detections[k])[order] for k in ("boxes", "labels", "scores")}
    for name in ("masks", "tracks"):
        if detections.get(name) is not None:
            chosen[name] = np.asarray(detections[name])[order]
    return draw(image, class_names=class_names, **chosen)


def draw_segments(
    image: ArrayLike, panoptic: ArrayLike, segments: Sequence[Mapping[str, Any]], *, opacity: float = 0.5
) -> Array:
    """Draws panoptic segments on a copy of an image: colored, outlined, the larger ones with their names.

    Args:
        image: ``[h, w, 3]`` uint8 RGB.
        panoptic: int ``[h, w]``, the ``id`` of every pixel's segment, 0 for none.
        segments: mappings with ``id``, ``label`` and ``name``; those of one class differ in brightness.
        opacity: share of the color over the image.

    Returns:
        ``[h, w, 3]`` uint8 RGB.

    Raises:
        ValueError: the map has another size than the image.
    """
    image, ids = np.array(image, np.uint8), np.asarray(panoptic, int)
    if ids.shape != image.shape[:2]:
        raise ValueError(f"draw_segments: a map of size {ids.shape} on an image of {image.shape[:2]}.")
    if not segments:
        return image
    palette = _palette(max(int(one["label"]) for one in segments) + 1)
    colors = np.zeros((max(int(ids.max()), *(int(one["id"]) for one in segments)) + 1, 3))
    for count, one in enumerate(segments):
        color = np.array(palette.by_idx(int(one["label"])).as_rgb(), float)
        colors[one["id"]] = color * (1.0 - 0.12 * (count % 4))
    inside = (ids > 0)[..., None]
    mixed = np.where(inside, image * (1.0 - opacity) + colors[ids] * opacity, image)
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    canvas = np.where(edge[..., None], 255, mixed).astype(np.uint8)
    large = [one for one in segments if (ids == one["id"]).sum() >= ids.size / 200]
    if not large:
        return canvas
    places = [np.argwhere(ids == one["id"]) for one in large]
    centers = np.array(
        [place[len(place) // 2][::-1] for place in places], np.float32
    )  # a pixel of the segment
    supervision = _supervision()
    writer = supervision.LabelAnnotator(
        color=palette, text_scale=max(0.35, 0.5 * max(image.shape[:2]) / 1000), text_padding=2
    )
    marks = supervision.Detections(
        xyxy=np.concatenate([centers, centers + 1], 1), class_id=np.array([one["label"] for one in large])
    )
    drawn = writer.annotate(
        np.ascontiguousarray(canvas[..., ::-1]), marks, [str(one["name"]) for one in large]
    )
    return drawn[..., ::-1].copy()


def _texts(labels: Array, class_names: Sequence[str] | None, scores: Array | None) -> list[str]:
    names = [str(label) if class_names is None else class_names[label] for label in labels]
    return names if scores is None else [f"{n} {s:.2f}" for n, s in zip(names, scores, strict=True)]


def _palette(count: int) -> "supervision.ColorPalette":
    """Colors that differ for neighboring classes and stay the same whatever else is drawn."""
    supervision = _supervision()
    colors = []
    for label in range(count):
        hue = (0.02 + label * _GOLDEN) % 1
        rgb = colorsys.hsv_to_rgb(hue, 0.85, 0.8 if label % 2 else 0.95)
        colors.append(supervision.Color(*(int(255 * v) for v in rgb)))
    return supervision.ColorPalette(colors)
