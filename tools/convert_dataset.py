"""Writes a COCO or VOC dataset as TFRecord files in Model Garden's TFExample layout.

    python tools/convert_dataset.py --annotations a.json --images pictures/ --masks --out records/train

An interrupted run continues with the missing shards. Read the result with
``data: {train: {format: tfrecord, annotations: records/train-*.tfrecord}}``.
"""

import argparse
import sys

import kdet.data
from kdet.cli import add_debug, guard


def main(arguments=None):
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--format", default="coco", choices=["coco", "voc"])
    parser.add_argument("--annotations", required=True, help="COCO JSON, or the split file of a VOC folder")
    parser.add_argument("--images", help="picture folder (VOC: the folder with JPEGImages/)")
    parser.add_argument("--classes", nargs="+", help="class names to keep, in this order")
    parser.add_argument("--masks", action="store_true", help="write instance masks (PNG)")
    parser.add_argument("--on-missing", default="error", choices=["error", "skip"], help="lost pictures")
    parser.add_argument("--shards", type=int, default=1, help="number of files")
    parser.add_argument("--out", required=True, metavar="PREFIX", help="path and beginning of the file names")
    add_debug(parser)
    options = parser.parse_args(arguments)
    keys = ("format", "annotations", "images", "classes", "masks", "on_missing")
    with guard("convert_dataset", options.debug):
        index = kdet.data.read_index({key: getattr(options, key) for key in keys})
        print(index.report())
        paths, found = kdet.data.write_tfrecords(index, options.out, options.shards, sys.stderr.isatty())
    print(f"Wrote {len(paths) - found} files, {found} were complete: {options.out}-*.tfrecord")


if __name__ == "__main__":
    main()
