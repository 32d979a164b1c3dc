"""YOLO: ``images/<split>/``, ``labels/<split>/`` and a ``data.yaml``."""

import pathlib
from typing import Any

import yaml

from kdet.data import masks, outlines
from kdet.data.index import DatasetIndex, Record
from kdet.data.writers.base import Places, Writer, clipped
from kdet.data.yolo import label_file
from kdet.registry import register
from kdet.typing import PathLike
from kdet.writing import whole


@register
class YoloWriter(Writer):
    """YOLO's text files: boxes, or where there are masks one polygon for each object.

    Parts and holes of a mask are joined to one polygon, which draws the same pixels.
    """

    def __init__(self, folder: PathLike, class_names: list[str], link: bool = False) -> None:
        super().__init__(folder, class_names, link)
        self._splits: dict[str, str] = {}

    def add(self, split: str, index: DatasetIndex) -> None:
        images = self.folder / "images" / split
        for record, name in Places(index, images, self.link, by_stem=True).images():
            target = pathlib.Path(label_file(str(images / name)))
            target.parent.mkdir(parents=True, exist_ok=True)
            lines = self._lines(index, record)
            target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._splits[split] = f"images/{split}"

    def close(self) -> None:
        splits = self._splits
        if "train" not in splits and len(splits) == 1:
            splits = {"train": next(iter(splits.values()))}
        content: dict[str, Any] = {"path": ".", **splits, "names": dict(enumerate(self.class_names))}
        with whole(self.folder / "data.yaml") as part:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            part.write_text(text, encoding="utf-8")

    def _lines(self, index: DatasetIndex, record: Record) -> list[str]:
        ignored = len(record.ignore_labels)
        if ignored:
            self.losses.add(
                "crowd or region to ignore, which YOLO does not have, left out", record.name, ignored
            )
        shapes = index.segmentations(record) if index.has_masks else [None] * len(record.labels)
        lines = []
        for box, label, shape in zip(record.boxes, record.labels, shapes, strict=True):
            polygon = None if shape is None else _polygon(shape, record)
            if polygon:
                lines.append(_line(int(label), polygon, record))
                continue
            if polygon is not None:
                self.losses.add("mask without a pixel, its box is written", record.name)
            inside = clipped(box, record, self.losses)
            if inside is not None:
                x1, y1, x2, y2 = inside
                # center and size go by the image's width and height, as x and y do
                lines.append(_line(int(label), [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], record))
        return lines


def _polygon(shape: Any, record: Record) -> list[float]:
    """One polygon with all parts of an object, empty where it has no pixel."""
    if isinstance(shape, list):
        parts = [part for part in shape if len(part) >= 6]
        sides = record.width, record.height
        if all(0 <= value <= sides[i % 2] for part in parts for i, value in enumerate(part)):
            return outlines.joined(parts)
    drawn = masks.rasterize(shape, record.height, record.width)
    return outlines.joined(outlines.polygons(drawn))


def _line(label: int, values: list[float], record: Record) -> str:
    sides = record.width, record.height
    return " ".join([str(label), *(f"{value / sides[i % 2]:.8g}" for i, value in enumerate(values))])
