"""Detections against the truth, image by image: overlaps and what belongs to what."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kdet.data import masks
from kdet.evaluation.coco import complete, with_masks
from kdet.evaluation.results import finite
from kdet.typing import Array, Result


@dataclasses.dataclass
class Scene:
    """One image with its objects and detections.

    Attributes:
        image_id: of the image.
        overlaps: IoU ``[detections, objects]``.
        crowd_overlaps: share of a detection that lies in a crowd, ``[detections, crowds]``.
        scores, labels: of the detections, best first.
        truth: labels of the objects.
        crowds: labels of the crowds.
        boxes, truth_boxes: xyxy of detections and objects.
    """

    image_id: int
    overlaps: Array
    crowd_overlaps: Array
    scores: Array
    labels: Array
    truth: Array
    crowds: Array
    boxes: Array
    truth_boxes: Array


def scenes(
    truth: dict[str, Any], results: list[Result], of: str = "bbox", most: int = 100
) -> Iterator[Scene]:
    """The images of a COCO dict with the results for them, in the dict's order.

    Args:
        truth: COCO dict.
        results: COCO result dicts; what is not finite is left out.
        of: compare ``"bbox"`` or ``"segm"``.
        most: detections of an image that count, the best.
    """
    if of == "segm":
        truth = with_masks(truth, results)
    label_of = {category["id"]: label for label, category in enumerate(truth["categories"])}
    objects: dict[Any, list[Result]] = {image["id"]: [] for image in truth["images"]}
    found: dict[Any, list[Result]] = {image["id"]: [] for image in truth["images"]}
    for annotation in complete(truth)["annotations"]:
        if annotation["image_id"] in objects and annotation["category_id"] in label_of:
            objects[annotation["image_id"]].append(annotation)
    for result in finite(results):
        if result["image_id"] in found and result["category_id"] in label_of:
            found[result["image_id"]].append(result)
    for image in truth["images"]:
        size = image["height"], image["width"]
        detections = sorted(found[image["id"]], key=lambda r: -r["score"])[:most]
        plain = [a for a in objects[image["id"]] if not a["iscrowd"]]
        crowds = [a for a in objects[image["id"]] if a["iscrowd"]]
        shapes = _shapes(detections, of, size)
        yield Scene(
            image_id=image["id"],
            overlaps=_overlaps(shapes, _shapes(plain, of, size), False),
            crowd_overlaps=_overlaps(shapes, _shapes(crowds, of, size), True),
            scores=np.array([r["score"] for r in detections], float),
            labels=np.array([label_of[r["category_id"]] for r in detections], int),
            truth=np.array([label_of[a["category_id"]] for a in plain], int),
            crowds=np.array([label_of[a["category_id"]] for a in crowds], int),
            boxes=_corners(detections, of, size),
            truth_boxes=_corners(plain, of, size),
        )


def _shapes(entries: list[Result], of: str, size: tuple[int, int]) -> list[Any]:
    if of == "bbox":
        return [[float(v) for v in entry["bbox"]] for entry in entries]
    return [masks.encode(entry["segmentation"], *size) for entry in entries]


def _overlaps(first: list[Any], second: list[Any], crowd: bool) -> Array:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(first, second, [crowd] * len(second)))


def _corners(entries: list[Result], of: str, size: tuple[int, int]) -> Array:
    boxes = [
        entry["bbox"] if "bbox" in entry else masks.bounds(masks.encode(entry["segmentation"], *size))
        for entry in entries
    ]
    found = np.array(boxes, float).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found
