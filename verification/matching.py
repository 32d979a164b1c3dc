"""Which detection is which; NumPy alone, so that the reference's side can use it too."""

import numpy as np


def match_detections(boxes, labels, ours, min_iou=0.99, max_score=1e-3, pixels=0.0):
    """For each of the wanted detections, our matching row or -1.

    Args:
        boxes, labels: ``[N,5]`` (x1, y1, x2, y2, score) and ``[N]``.
        ours: dict of ``boxes [M,4]``, ``scores [M]``, ``labels [M]``.
        min_iou, max_score: matches overlap by more and differ in score by less.
        pixels: boxes whose corners are nearer match too: rounding is much of the area of a thin one.
    """
    matches = np.full(len(boxes), -1)
    taken = np.zeros(len(ours["boxes"]), bool)
    for i, (*box, score) in enumerate(boxes):
        size = np.minimum(ours["boxes"][:, 2:], box[2:]) - np.maximum(ours["boxes"][:, :2], box[:2])
        inter = np.prod(np.maximum(size, 0), -1)
        areas = np.prod(ours["boxes"][:, 2:] - ours["boxes"][:, :2], -1)
        iou = inter / np.maximum(areas + (box[2] - box[0]) * (box[3] - box[1]) - inter, 1e-9)
        # boxes that clipping left without area have no IoU: their corners must agree instead
        apart = np.abs(ours["boxes"] - box).max(-1)
        distance = apart / max(box[2] - box[0], box[3] - box[1], 1.0)
        same = iou > min_iou if (box[2] - box[0]) * (box[3] - box[1]) > 0 else distance < 0.01
        good = (
            (same | (apart < pixels))
            & (ours["labels"] == labels[i])
            & (np.abs(ours["scores"] - score) < max_score)
            & ~taken
        )
        if good.any():
            matches[i] = int(np.where(good, distance, np.inf).argmin())
            taken[matches[i]] = True
    return matches


def match_masks(areas, scores, labels, ours, max_area=0.01, max_score=1e-3):
    """As ``match_detections``, for detections whose masks are all that says where they are.

    Args:
        areas, scores, labels: ``[N]`` of the wanted; areas in pixels.
        ours: dict of ``masks [M,H,W]``, ``scores [M]``, ``labels [M]``.
        max_area, max_score: matches differ by less; areas relative to their size.
    """
    own = (np.asarray(ours["masks"]) > 0).sum((1, 2))
    matches = np.full(len(areas), -1)
    taken = np.zeros(len(own), bool)
    for i, (area, score, label) in enumerate(zip(areas, scores, labels)):
        distance = np.abs(own - float(area)) / max(float(area), 1.0)
        good = (ours["labels"] == label) & (np.abs(ours["scores"] - score) < max_score) & ~taken
        good &= distance < max_area
        if good.any():
            matches[i] = int(np.where(good, np.abs(ours["scores"] - score) + distance, np.inf).argmin())
            taken[matches[i]] = True
    return matches
