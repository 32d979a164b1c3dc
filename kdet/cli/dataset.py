"""Work on data sets.

    kdet dataset convert --annotations a.json --images images/ --masks --out records/train

convert: writes a COCO or VOC data set as TFRecord files in Model Garden's TFExample layout. An interrupted
run continues with the missing shards. Read the result with
data: {train: {type: TFRecordReader, annotations: records/train-*.tfrecord}}.
"""

import argparse
import sys

from kdet.cli import common

HELP = "convert a data set to TFRecord"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["convert"])
    parser.add_argument("--format", default="coco", choices=["coco", "voc"])
    parser.add_argument("--annotations", required=True, help="COCO JSON, or the split file of a VOC folder")
    parser.add_argument("--images", help="image folder (VOC: the folder with JPEGImages/)")
    parser.add_argument("--classes", nargs="+", help="class names to keep, in this order")
    parser.add_argument("--masks", action="store_true", help="write instance masks (PNG)")
    parser.add_argument("--on-missing", default="error", choices=["error", "skip"], help="lost images")
    parser.add_argument("--shards", type=int, default=1, help="number of files")
    parser.add_argument("--out", required=True, metavar="PREFIX", help="path and beginning of the file names")


def run(options: argparse.Namespace) -> None:
    import kdet.data

    spec = {
        "type": common.READERS[options.format],
        "annotations": options.annotations,
        "images": options.images,
        "classes": options.classes,
        "masks": options.masks,
        "on_missing": options.on_missing,
    }
    index = kdet.data.read_index(spec)
    print(index.report())
    paths, found = kdet.data.write_tfrecords(index, options.out, options.shards, sys.stderr.isatty())
    print(f"Wrote {len(paths) - found} files, {found} were complete: {options.out}-*.tfrecord")
