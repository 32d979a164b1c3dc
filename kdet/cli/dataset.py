"""Work on data sets of every format; the format is found out from the files.

    kdet dataset convert SOURCE TARGET --to yolo         COCO, YOLO, VOC or TFRecord, all splits
    kdet dataset check SOURCE --sheet check.png          every defect in one report, and a contact sheet
    kdet dataset stats SOURCE                            how much of what, and how large
    kdet dataset split SOURCE TARGET --ratio train=0.8 val=0.2
    kdet dataset merge SOURCE SOURCE TARGET              classes joined by name

SOURCE is a data.yaml or the folder of a YOLO data set, a COCO JSON, a VOC folder or split, an export of CVAT,
Label Studio or LabelMe, Open Images' CSV, TFRecord files, or a folder with one of these for each split.
convert, split and merge write a new folder with copies of the images, and say what was left out and why.
"""

import argparse
import json
import pathlib
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdet.curation import Report
    from kdet.data import DatasetIndex

from kdet.cli import common

HELP = "convert, check, count, divide and join data sets"
WRITTEN = ("coco", "yolo", "voc", "tfrecord")
THUMBNAIL = 320


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(ACTIONS))
    parser.add_argument(
        "paths", nargs="+", type=common.path, metavar="SOURCE", help="the data set; last the new folder"
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        metavar="FORMAT",
        help="format of the source, where it is not found out: coco, yolo, voc, tfrecord, labelme, cvat, "
        "labelstudio, openimages, cityscapes, widerface, crowdhuman",
    )
    parser.add_argument("--to", choices=WRITTEN, help="format to write (default: the source's, else coco)")
    parser.add_argument(
        "--images", type=common.path, help="folder of the images, where it is not beside the annotations"
    )
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only these (train, val, test)")
    parser.add_argument("--classes", nargs="+", help="class names to keep, in this order")
    parser.add_argument(
        "--masks",
        action=argparse.BooleanOptionalAction,
        help="read instance masks and leave out objects without one (default: where all have one)",
    )
    parser.add_argument(
        "--crowds",
        choices=["ignore", "objects"],
        help="COCO, TFRecord: regions that do not count (default), or objects like others",
    )
    parser.add_argument("--on-missing", default="error", choices=["error", "skip"], help="lost images")
    parser.add_argument("--on-corrupt", default="error", choices=["error", "skip"], help="wrong values")
    parser.add_argument("--link", action="store_true", help="hard links in the place of copies of the images")
    parser.add_argument(
        "--shards",
        type=common.whole_number(1, 99_999),
        default=1,
        help="tfrecord: number of files of every split",
    )
    parser.add_argument(
        "--ratio", nargs="+", default=["train=0.8", "val=0.2"], metavar="NAME=SHARE", help="split: its parts"
    )
    parser.add_argument(
        "--seed",
        type=common.whole_number(0),
        default=0,
        help="split: of the order; check: of the contact sheet",
    )
    parser.add_argument(
        "--recipe", type=common.path, help="check: compare boxes with the strides and anchors of its model"
    )
    parser.add_argument(
        "--sheet", type=common.path, default="check.png", help="check: PNG to write (default check.png)"
    )
    parser.add_argument("--quick", action="store_true", help="check: read the headers of images alone")
    parser.add_argument(
        "--json", type=common.folder, metavar="FILE", help="check, stats: write it as JSON too"
    )


def run(options: argparse.Namespace) -> None:
    ACTIONS[options.action](options)


def convert(options: argparse.Namespace) -> None:
    source, target = _source_and_target(options)
    write(options, read(options, source), source, target)


def merge(options: argparse.Namespace) -> None:
    from kdet import curation

    if len(options.paths) < 3:
        raise ValueError("merge needs two data sets or more, and a new folder: merge SOURCE SOURCE TARGET.")
    *sources, target = options.paths
    parts = [read(options, source) for source in sources]
    names = [pathlib.Path(source).resolve().stem for source in sources]
    prefixes = [f"{number}_{name}" for number, name in enumerate(names, start=1)]
    classes = options.classes or list(
        dict.fromkeys(name for splits in parts for index in splits.values() for name in index.class_names)
    )
    joined = {}
    for split in dict.fromkeys(split for splits in parts for split in splits):
        there = [(p[split], prefix) for p, prefix in zip(parts, prefixes, strict=True) if split in p]
        joined[split] = curation.merge([p for p, _ in there], classes, [prefix for _, prefix in there])
    write(options, joined, sources[0], target)


def split(options: argparse.Namespace) -> None:
    from kdet import curation

    source, target = _source_and_target(options)
    found = list(read(options, source).values())
    whole = found[0] if len(found) == 1 else curation.merge(found)
    write(options, curation.divide(whole, _ratios(options.ratio), options.seed), source, target)


def stats(options: argparse.Namespace) -> None:
    from kdet.curation import counting

    found = {}
    for name, index in read(options, _only_source(options)).items():
        found[name] = counting.statistics(index)
        print("\n".join(counting.lines(name, found[name])))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def check(options: argparse.Namespace) -> None:
    from kdet import curation
    from kdet.curation import model_sizes

    options.on_missing = options.on_corrupt = "skip"
    splits = read(options, _only_source(options), quiet=True)
    more = model_sizes.of_recipe(options.recipe) if options.recipe else {}
    report = curation.check(splits, decode=not options.quick, **more)
    print("\n".join(report.lines()))
    draw_sheet(splits, report, options.sheet, options.seed)
    print(f"Wrote {options.sheet}: images with defects first, then others.")
    if options.json:
        content = {
            "defects": {name: skips.counts for name, skips in report.defects.items()},
            "examples": {name: skips.examples for name, skips in report.defects.items()},
            "notes": report.notes,
            "statistics": report.statistics,
        }
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read(options: argparse.Namespace, source: str, quiet: bool = False) -> "dict[str, DatasetIndex]":
    """Return the splits of a data set, and print what was left out."""
    from kdet import curation

    found = curation.read_splits(
        source,
        options.source_format,
        options.images,
        splits=options.splits,
        masks=options.masks,
        classes=options.classes,
        on_missing=options.on_missing,
        on_corrupt=options.on_corrupt,
        crowds=options.crowds,
    )
    if not quiet:
        for index in found.values():
            print(index.report())
    return found


def write(options: argparse.Namespace, splits: "dict[str, DatasetIndex]", source: str, target: str) -> None:
    """Write a data set and print what its format cannot hold."""
    from kdet.data import data_sets, recognize, writers

    wanted = options.to
    if wanted is None:
        spec = next(iter(data_sets(source, options.source_format, options.images).values()))
        names = {reader: name for name, reader in recognize.FORMATS.items()}
        wanted = names.get(spec["type"], "coco")
        wanted = wanted if wanted in WRITTEN else "coco"
    more = {"shards": options.shards} if wanted == "tfrecord" else {}
    losses = writers.write_data_set(splits, target, wanted, options.link, **more)
    for name, index in splits.items():
        print(f"{name}: {len(index)} images, {index.num_objects} objects")
    for reason, count in losses.counts.items():
        print(f"  {count} x {reason} (e.g. {', '.join(losses.examples[reason])})")
    print(f"Wrote {target} ({wanted}).")


def draw_sheet(
    splits: "dict[str, DatasetIndex]", report: "Report", path: str, seed: int, count: int = 36
) -> None:
    """Draw thumbnails of suspicious images, then of others, with what is annotated on them."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from kdet import visualize
    from kdet.data import decoding, masks
    from kdet.errors import DataError

    chosen = [(name, r) for name in splits for r in report.suspects[name]][: count // 2]
    rest = [(name, record) for name, index in splits.items() for record in index.records]
    chosen += random.Random(seed).sample(rest, min(len(rest), count - len(chosen)))
    drawn = []
    for name, record in chosen:
        index = splits[name]
        try:
            image = decoding.decode(index.read(record))
            shapes = index.segmentations(record) if index.has_masks else []
            size = image.shape[:2]
            more: dict[str, Any] = {}
            if size == (record.height, record.width) and shapes:
                more["masks"] = np.stack([masks.rasterize(shape, *size) for shape in shapes])
            image = visualize.draw(image, record.boxes, record.labels, index.class_names, **more)
        except (DataError, OSError):
            image = np.full((THUMBNAIL // 2, THUMBNAIL, 3), (200, 60, 60), np.uint8)  # cannot be read
        small = Image.fromarray(image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        drawn.append(np.asarray(small))
    if not drawn:
        raise ValueError(f"There is no image to draw on {path}.")
    tf.io.write_file(path, tf.io.encode_png(visualize.grid(drawn)))


def _source_and_target(options: argparse.Namespace) -> tuple[str, str]:
    if len(options.paths) != 2:
        raise ValueError(f"{options.action} needs a data set and a new folder: SOURCE TARGET.")
    return options.paths[0], options.paths[1]


def _only_source(options: argparse.Namespace) -> str:
    if len(options.paths) != 1:
        raise ValueError(f"{options.action} takes one data set; got {' '.join(options.paths)}.")
    return str(options.paths[0])


def _ratios(given: list[str]) -> dict[str, float]:
    found = {}
    for item in given:
        name, _, share = item.partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise ValueError(f"--ratio {item}: write NAME=SHARE, for example train=0.8 val=0.2.") from None
    return found


ACTIONS = {"convert": convert, "check": check, "stats": stats, "split": split, "merge": merge}
