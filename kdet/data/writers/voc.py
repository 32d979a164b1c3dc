"""Pascal VOC: ``JPEGImages/``, ``Annotations/`` and ``ImageSets/Main/<split>.txt``."""

import os
import pathlib
import xml.etree.ElementTree as ElementTree

from kdet.data.index import DatasetIndex, Record
from kdet.data.writers.base import HARMLESS, Places, Writer, clipped
from kdet.registry import register
from kdet.writing import whole


@register
class VocWriter(Writer):
    """Pascal VOC's XML: boxes in whole pixels, counted from 1; ignore regions as difficult objects."""

    def add(self, split: str, index: DatasetIndex) -> None:
        names = []
        images = self.folder / "JPEGImages"
        for record, name in Places(index, images / split, self.link, by_stem=True).images():
            stem = os.path.join(split, os.path.splitext(name)[0])
            target = self.folder / "Annotations" / f"{stem}.xml"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._xml(index, record, name))
            # the reader takes a last word of 1, 0 or -1 for a flag
            flagged = stem.rpartition(" ")[2] in ("1", "0", "-1")
            names.append(os.path.join(split, name) if flagged else stem)
        used = {label for r in index.records for label in (*r.labels.tolist(), *r.ignore_labels.tolist())}
        for label, name in enumerate(index.class_names):
            if label not in used:
                self.losses.add("class without an object, which VOC does not list", name)
        sets = self.folder / "ImageSets" / "Main"
        with whole(sets / f"{split}.txt") as part:
            part.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def _xml(self, index: DatasetIndex, record: Record, name: str) -> bytes:
        root = ElementTree.Element("annotation")
        _text(root, "filename", pathlib.PurePosixPath(name).name)
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", record.width), ("height", record.height), ("depth", 3)):
            _text(size, key, str(value))
        if index.has_masks and len(record.labels):
            self.losses.add("mask, which VOC does not have, left out", record.name, len(record.labels))
        groups = ((record.boxes, record.labels, 0), (record.ignore_boxes, record.ignore_labels, 1))
        for boxes, labels, difficult in groups:
            for box, label in zip(boxes, labels, strict=True):
                inside = clipped(box, record, self.losses)
                if inside is None:
                    continue
                whole_pixels = [round(v) for v in inside]
                if any(abs(a - b) >= HARMLESS for a, b in zip(whole_pixels, inside, strict=True)):
                    self.losses.add("box rounded to whole pixels", record.name)
                node = ElementTree.SubElement(root, "object")
                _text(node, "name", index.class_names[int(label)])
                _text(node, "difficult", str(difficult))
                corners = ElementTree.SubElement(node, "bndbox")
                for key, value in zip(("xmin", "ymin", "xmax", "ymax"), whole_pixels, strict=True):
                    _text(corners, key, str(value + 1))
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _text(parent: ElementTree.Element, key: str, text: str) -> None:
    ElementTree.SubElement(parent, key).text = text
