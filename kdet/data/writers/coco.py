"""COCO: ``<split>.json`` and ``images/<split>/``."""

import json
from typing import Any

from kdet.data import masks
from kdet.data.index import DatasetIndex, Record
from kdet.data.writers.base import Places, Writer
from kdet.registry import register
from kdet.writing import whole


@register
class CocoWriter(Writer):
    """COCO JSON, with polygons as polygons and all other masks as run lengths.

    Of a COCO file the annotations are kept as they are, with what they say beyond boxes and masks.
    """

    def add(self, split: str, index: DatasetIndex) -> None:
        names = {
            record.image_id: name
            for record, name in Places(index, self.folder / "images" / split, self.link).images()
        }
        content = index.to_coco() if index.coco_file else _content(index)
        for image in content["images"]:
            image["file_name"] = names[image["id"]]
        with whole(self.folder / f"{split}.json") as part:
            part.write_text(json.dumps(content), encoding="utf-8")


def _content(index: DatasetIndex) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for record in index.records:
        for annotation in _annotations(index, record):
            annotation["id"] = len(annotations) + 1
            annotations.append(annotation)
    content = index.to_coco(masks=False)
    return {**content, "annotations": annotations}


def _annotations(index: DatasetIndex, record: Record) -> list[dict[str, Any]]:
    found = []
    for crowd in (False, True):
        boxes = record.ignore_boxes if crowd else record.boxes
        labels = record.ignore_labels if crowd else record.labels
        shapes = index.segmentations(record, ignored=crowd) if index.has_masks else [None] * len(labels)
        for box, label, shape in zip(boxes, labels, shapes, strict=True):
            x1, y1, x2, y2 = (round(float(v), 4) for v in box)
            annotation: dict[str, Any] = {
                "image_id": record.image_id,
                "category_id": index.category_ids[int(label)],
                "bbox": [x1, y1, round(x2 - x1, 4), round(y2 - y1, 4)],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(crowd),
            }
            if shape is not None:
                rle = masks.encode(shape, record.height, record.width)
                plain = isinstance(shape, list) and not crowd
                annotation.update(segmentation=shape if plain else rle, area=masks.area(rle))
            found.append(annotation)
    return found
