"""Where data sets of each format lie: their splits, found in a file or a folder by names and first bytes."""

import glob
import os
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from kdet.data import files
from kdet.data import yolo as yolo_files
from kdet.errors import DataError

# {split: the keys of a data set}
DataSets: TypeAlias = dict[str, dict[str, Any]]
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ALL = "all"
_HEAD = 2**16
_SPLIT = re.compile(r"(?:^|[^a-z])(train|validation|valid|val|test)(?![a-z])")


def split_of(name: str) -> str:
    """The split that the name of a file or folder means; "all" where it means none."""
    found = _SPLIT.search(name.lower())
    return SPLITS[found[1]] if found else ALL


def coco(path: str) -> DataSets:
    if os.path.isfile(path):
        return _named([path], _coco_spec, path) if _is_coco(path) else {}
    inside = ("*.json", "annotations/instances_*.json", "annotations/*.json", "*/_annotations.coco.json")
    for pattern in inside:
        found = [p for p in _inside(path, pattern) if _is_coco(p)]
        if found:
            return _named(found, _coco_spec, path)
    return {}


def _is_coco(path: str) -> bool:
    head = _head(path)
    others = (b'"shapes"', b'"imagePath"', b'"shards"')  # LabelMe; the manifest beside TFRecord files
    if not head.lstrip().startswith(b"{") or any(key in head for key in others):
        return False
    return any(b'"' + key + b'"' in head for key in (b"images", b"annotations", b"categories", b"licenses"))


def _coco_spec(path: str) -> dict[str, Any]:
    """The folder of images is that of the usual ones in which the first image lies."""
    folder = os.path.dirname(path) or "."
    above = os.path.dirname(os.path.abspath(path) if folder == "." else folder)
    stem = os.path.splitext(os.path.basename(path))[0].removeprefix("instances_")
    places = [os.path.join(folder, "images"), folder, os.path.join(above, "images")]
    places += [os.path.join(place, stem) for place in (*places, above)]
    found = re.search(rb'"file_name"\s*:\s*"([^"\\]+)"', _head(path))
    name = found[1].decode("utf-8", "replace") if found else ""
    chosen = next((p for p in places if name and os.path.isfile(os.path.join(p, name))), None)
    if chosen is None:
        chosen = next(filter(os.path.isdir, places))
    return {"annotations": path, "images": chosen}


def voc(path: str) -> DataSets:
    if os.path.isfile(path):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(path))))
        if path.endswith(".txt") and os.path.isdir(os.path.join(root, "Annotations")):
            return _named([path], lambda p: {"annotations": p, "images": root}, path)
        return {}
    found = _inside(path, "ImageSets/Main/*.txt")
    names = {os.path.splitext(os.path.basename(p))[0]: p for p in found}
    chosen = [names[name] for name in ("train", "val", "test") if name in names] or found
    return _named(chosen, lambda p: {"annotations": p, "images": path}, path)


def tfrecord(path: str) -> DataSets:
    if ".tfrecord" in os.path.basename(path):
        return _named([path], lambda p: {"annotations": p}, path)
    groups = sorted(
        {re.sub(r"-\d{5}-of-\d{5}\.tfrecord$", "-*.tfrecord", p) for p in _inside(path, "*.tfrecord")}
    )
    return _named(groups, lambda p: {"annotations": p}, path)


def cityscapes(path: str) -> DataSets:
    found = [p for p in _inside(path, "gtFine/*") if os.path.isdir(p)]
    images = os.path.join(path, "leftImg8bit")
    return _named(
        found, lambda p: {"annotations": p, "images": os.path.join(images, os.path.basename(p))}, path
    )


def wider_face(path: str) -> DataSets:
    found = _inside(path, "wider_face_split/wider_face_*_bbx_gt.txt")

    def spec(file: str) -> dict[str, Any]:
        images = os.path.join(path, f"WIDER_{split_of(os.path.basename(file))}", "images")
        return {"annotations": file, "images": images}

    return _named(found, spec, path)


def crowd_human(path: str) -> DataSets:
    if os.path.isfile(path):
        found, root = [path] if path.endswith(".odgt") else [], os.path.dirname(path)
    else:
        found, root = _inside(path, "annotation_*.odgt"), path
    return _named(found, lambda p: {"annotations": p, "images": os.path.join(root, "Images")}, path)


def yolo(path: str) -> DataSets:
    if os.path.isdir(path):
        inside = [os.path.join(path, name) for name in ("data.yaml", "data.yml", "dataset.yaml")]
        path = next(filter(os.path.isfile, inside), "")
    if not path.endswith((".yaml", ".yml")) or not os.path.isfile(path):
        return {}
    splits = yolo_files.read_yaml(path).splits
    return {split: {"annotations": path, "split": split} for split in splits}


def labelme(path: str) -> DataSets:
    folders = [path, *(p for p in _inside(path, "*") if os.path.isdir(p))]
    if os.path.isfile(path):
        return _named([path], lambda p: {"annotations": p}, path) if _is_labelme(path) else {}
    found = [p for p in folders if any(map(_is_labelme, _inside(p, "*.json")[:1]))]
    return _named(found, lambda p: {"annotations": p}, path)


def _is_labelme(path: str) -> bool:
    head = _head(path)
    return path.endswith(".json") and (b'"shapes"' in head or b'"imagePath"' in head)


def cvat(path: str) -> DataSets:
    found = [path] if os.path.isfile(path) else _inside(path, "*.xml")
    found = [p for p in found if p.endswith(".xml") and b"<annotations" in _head(p)]
    return _named(found, _with_images, path)


def label_studio(path: str) -> DataSets:
    found = [path] if os.path.isfile(path) else _inside(path, "*.json")
    return _named([p for p in found if p.endswith(".json") and _is_list_of_tasks(p)], _with_images, path)


def _is_list_of_tasks(path: str) -> bool:
    head = _head(path).lstrip()
    return head.startswith(b"[") and (b'"annotations"' in head or b'"completions"' in head)


def open_images(path: str) -> DataSets:
    found = [path] if os.path.isfile(path) else _inside(path, "*.csv")
    found = [p for p in found if p.endswith(".csv") and b"XMin" in _head(p).partition(b"\n")[0]]
    return _named(found, _with_images, path)


def _with_images(path: str) -> dict[str, Any]:
    """A file with a folder ``images``, or one of the split's name, beside it; else its own."""
    folder = os.path.dirname(path) or "."
    split = split_of(os.path.basename(path))
    names = [name for name, meant in SPLITS.items() if meant == split]
    places = [os.path.join(folder, "images", name) for name in names]
    places += [os.path.join(folder, name) for name in (*names, "images")]
    return {"annotations": path, "images": next(filter(os.path.isdir, places), folder)}


def _named(paths: Iterable[str], spec: Any, root: str) -> DataSets:
    """The data sets of several files or folders by the split that their names below ``root`` mean.

    Raises:
        DataError: two mean the same.
    """
    found: DataSets = {}
    places: dict[str, str] = {}
    for path in paths:
        file = os.path.samefile(path, root) if os.path.exists(path) else False
        below = os.path.basename(path) if file and os.path.isfile(path) else os.path.relpath(path, root)
        split = split_of(os.path.basename(below))
        if split == ALL:  # as in train/_annotations.coco.json
            split = split_of(os.path.basename(os.path.dirname(below)))
        if split in found:
            raise DataError(f"{places[split]} and {path} are both of the split {split!r}: name one of them.")
        found[split], places[split] = spec(path), path
    return found


def _inside(folder: str, pattern: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _head(path: str) -> bytes:
    try:
        with files.open_regular(path) as file:
            return file.read(_HEAD)
    except (DataError, OSError):
        return b""
