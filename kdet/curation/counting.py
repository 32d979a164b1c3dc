"""How much there is of what, and how large it is."""

from typing import Any

import numpy as np

from kdet.data import DatasetIndex
from kdet.typing import Array

SMALL, LARGE = 32**2, 96**2  # COCO's limits of the area of small and large objects
PERCENTILES = (0, 10, 50, 90, 100)


def statistics(index: DatasetIndex) -> dict[str, Any]:
    """Counts and sizes of a data set, as JSON can hold them.

    Returns:
        ``images``, ``objects``, ``ignored``, ``empty_images``; ``classes``: for every name ``objects``,
        ``images`` and the median ``side`` (root of the area) in pixels; ``sizes``: objects by COCO's limits
        of their boxes' areas; percentiles (0, 10, 50, 90, 100) of ``side``, ``aspect`` (width / height),
        ``objects_per_image``, ``image_width`` and ``image_height``.
    """
    records = index.records
    objects = records.objects.compact()
    boxes, labels, owners = objects.boxes.astype(float), objects.labels.astype(int), objects.owners
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area = width * height
    classes = {}
    for label, name in enumerate(index.class_names):
        own = labels == label
        classes[name] = {
            "objects": int(own.sum()),
            "images": len(np.unique(owners[own])),
            "side": round(float(np.median(np.sqrt(area[own]))), 1) if own.any() else None,
        }
    return {
        "images": len(records),
        "objects": len(labels),
        "ignored": int(records.ignored.counts.sum()),
        "empty_images": int((objects.counts == 0).sum()),
        "classes": classes,
        "sizes": {
            "small": int((area < SMALL).sum()),
            "medium": int(((area >= SMALL) & (area < LARGE)).sum()),
            "large": int((area >= LARGE).sum()),
        },
        "side": _percentiles(np.sqrt(area)),
        "aspect": _percentiles(width / np.maximum(height, 1e-9)),
        "objects_per_image": _percentiles(np.bincount(owners, minlength=len(records))),
        "image_width": _percentiles(records.sizes[:, 1]),
        "image_height": _percentiles(records.sizes[:, 0]),
    }


def lines(name: str, found: dict[str, Any]) -> list[str]:
    """The statistics for people, a few lines and one for every class."""
    text = [
        f"{name}: {found['images']} images ({found['empty_images']} without objects), "
        f"{found['objects']} objects, {found['ignored']} ignore regions",
        "  box sizes: " + ", ".join(f"{count} {kind}" for kind, count in found["sizes"].items()),
    ]
    for key in ("side", "aspect", "objects_per_image", "image_width", "image_height"):
        if found[key]:
            text.append(f"  {key.replace('_', ' ')}: " + " / ".join(f"{value:g}" for value in found[key]))
    text.append("  (least / 10 % / median / 90 % / most)")
    wide = max(map(len, found["classes"]), default=0)
    for name, counts in sorted(found["classes"].items(), key=lambda item: -item[1]["objects"]):
        side = f"  median side {counts['side']:g}" if counts["side"] else ""
        text.append(f"  {name:{wide}}  {counts['objects']:7} objects  {counts['images']:6} images{side}")
    return text


def _percentiles(values: Array) -> list[float]:
    return [round(float(v), 2) for v in np.percentile(values, PERCENTILES)] if len(values) else []
