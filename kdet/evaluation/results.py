"""Detections of a model as entries of a COCO result file."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kdet.data.packed import Shapes
from kdet.detectors.predict import paste
from kdet.evaluation.columns import Columns, ResultTable
from kdet.evaluation.panoptic import PanopticResult
from kdet.typing import Array, PathLike, Result
from kdet.writing import whole

logger = logging.getLogger("kdet.evaluation")


class ResultList:
    """Collects detections batch by batch.

    Args:
        category_ids: the category id of each label of the model, in label order.
        image_masks: ``Detector.image_masks`` of the model; masks framed by their boxes when None.

    Attributes:
        entries: a sequence of COCO result dicts (``image_id``, ``category_id``, ``bbox`` xywh, ``score`` and,
            where the model has masks, ``segmentation`` as compressed RLE), over columns.
        image_ids: the images seen, with detections or without.
        panoptic: the panoptic segments of every image by its id, where the model finds such.
        not_finite: number of detections left out because their box or score is NaN or infinite (JSON has
            neither).
    """

    def __init__(self, category_ids: Sequence[int], image_masks: Callable[..., Any] | None = None) -> None:
        self.category_ids = list(category_ids)
        self.image_masks = image_masks or paste
        self.entries = ResultTable()
        self.image_ids: list[int] = []
        self._seen: set[int] = set()
        self.panoptic: dict[int, PanopticResult] = {}
        self.not_finite = 0

    def add(
        self,
        detections: dict[str, Any],
        image_ids: Sequence[int] | Array,
        sizes: Sequence[Sequence[int]] | Array,
    ) -> None:
        """Adds one batch.

        Args:
            detections: ``boxes [B,N,4]``, ``scores [B,N]``, ``labels [B,N]`` (-1 = padding) and optional
                ``masks [B,N,m,m]``, in pixels of the original images; optional ``panoptic [B,H,W]`` with
                ``segment_labels [B,S]``.
            image_ids: ``[B]``; a negative id marks padding of the batch and is left out, and so is an image
                that was added before (it stood in for one that cannot be read).
            sizes: ``[B,2]`` (h, w) of the original images.
        """
        detections = {k: np.asarray(v) for k, v in detections.items()}
        for i, image_id in enumerate(np.asarray(image_ids).tolist()):
            if image_id < 0 or image_id in self._seen:
                continue
            self._seen.add(image_id)
            self.image_ids.append(image_id)
            if "panoptic" in detections:
                height, width = (int(side) for side in sizes[i])
                whole_map = detections["panoptic"][i][:height, :width]
                self.panoptic[image_id] = PanopticResult.of(whole_map, detections["segment_labels"][i])
            keep = self._usable(detections, i)
            boxes = detections["boxes"][i][keep].astype(np.float64)
            scores = detections["scores"][i][keep].astype(np.float64)
            labels = detections["labels"][i][keep]
            if len(labels) and labels.max() >= len(self.category_ids):
                raise ValueError(
                    f"The model predicts label {labels.max()} but the data has only "
                    f"{len(self.category_ids)} categories: model and data do not belong together."
                )
            shapes = None
            if "masks" in detections:
                rles = encode_masks(detections["masks"][i][keep], boxes, sizes[i], self.image_masks)
                shapes = Shapes.of(rles)
            self.entries.add(
                Columns(
                    image=np.full(len(labels), image_id, np.int64),
                    category=np.array(self.category_ids, np.int64)[labels],
                    boxes=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
                    scores=scores,
                    shapes=shapes,
                )
            )

    def _usable(self, detections: dict[str, Any], i: int) -> Array:
        """Which rows of image ``i`` are detections; those that are not finite are counted."""
        real = detections["labels"][i] >= 0
        numbers = np.isfinite(detections["scores"][i]) & np.isfinite(detections["boxes"][i]).all(axis=-1)
        self.not_finite += int((real & ~numbers).sum())
        return real & numbers

    def save(self, path: PathLike) -> None:
        """Writes the COCO result file, in one piece."""
        with whole(path) as part, open(part, "w") as file:
            file.write("[")
            for number, entry in enumerate(self.entries):
                file.write((", " if number else "") + json.dumps(entry))
            file.write("]")


def finite(results: Sequence[Result]) -> list[Result]:
    """The results whose score and box (where they have one) are finite; a warning counts the others.

    A detection that holds NaN or infinity neither finds an object nor counts as a mistake.
    """
    kept = [r for r in results if math.isfinite(r["score"]) and all(map(math.isfinite, r.get("bbox", ())))]
    if len(kept) < len(results):
        logger.warning(
            "%d of %d detections have a score or a box that is not finite and do not count.",
            len(results) - len(kept),
            len(results),
        )
    return kept


def encode_masks(
    masks: Array, boxes: Array, size: Sequence[float] | Array, image_masks: Callable[..., Any] = paste
) -> list[dict[str, Any]]:
    """Compressed RLE, on an image ``(h, w)``, of the masks ``[N,...]`` of boxes ``[N,4]``."""
    height, width = (int(round(float(s))) for s in size)
    encoded = []
    for mask, box in zip(masks, boxes):  # one by one: a hundred whole masks would fill the memory
        one = {"masks": mask[None], "boxes": box[None], "num_detections": 1}
        encoded.append(encode_mask(image_masks(one, height, width)[0]))
    return encoded


def encode_mask(mask: Array) -> dict[str, list[int] | str]:
    """Compressed RLE of one mask ``[h, w]`` as JSON can hold it."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
