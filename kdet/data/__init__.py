"""Data: annotation readers, the tf.data pipeline, and images for prediction.

``load`` takes a plain dict, the ``data.train`` or ``data.val`` section of a config:

- ``format`` (coco): ``coco`` (JSON), ``voc`` (XML), ``cityscapes`` (instance maps or polygons),
  ``wider_face`` (text) or ``tfrecord`` (Model Garden's TFExample layout).
- ``annotations`` (required): COCO: the JSON file; VOC: the split, ``.../ImageSets/Main/train.txt``;
  Cityscapes: the folder ``gtFine/train``; WIDER FACE: ``wider_face_train_bbx_gt.txt``; TFRecord: a file
  pattern. A list joins several.
- ``images``: COCO: the image folder; Cityscapes: ``leftImg8bit/train``; VOC: the folder with
  ``JPEGImages/`` (default: the one around the split). A list goes with a list of annotations.
- ``classes`` (all): class names in label order; selects and reorders.
- ``masks`` (false): deliver instance masks.
- ``resize`` ([1333, 800]): ``{mode: keep_ratio | fixed | factor, sizes: [[1333, 800], ...],
  multiscale: value | range, ratio_range: [low, high]}``. Sizes are (long, short) limits; (w, h) in mode
  ``fixed``; factors of an image's own size in mode ``factor``.
- ``divisor`` (32; fixed sizes: 1): canvas sides are multiples of it.
- ``center_pad``: with mode ``factor``: canvas sides are ``side | center_pad``, as the preprocessor's.
- ``buckets`` (training: from ``resize``): canvas shapes ``[[h, w], ...]``; see ``bucket_shapes``. Evaluation
  without them pads every batch to its own largest height and width, as MMDetection does.
- ``on_missing``, ``on_corrupt`` (error): or ``skip``: leave such images out, count and report them;
  ``on_corrupt`` also covers annotations with values of the wrong kind and damaged segmentations.
- ``allow_outside`` (false): image names may lead out of the folder ``images``.
- ``crowds`` (ignore): ``objects`` takes objects marked ``iscrowd`` as objects, not as ignore regions.
- ``max_boxes`` (from the data): padded number of objects G.
- ``proposals``, ``max_proposals`` (2000): Fast R-CNN's proposal file (``.npz``, ``.json``, ``.pkl``).
- ``limit``: only the first images.
- ``difficulty_lists``: folder of WIDER FACE's lists of easy, medium and hard faces, for its metric.

For training only (ignored in evaluation):

- ``flip`` (0.5): probability of mirroring left to right.
- ``crop``: ``[w, h]`` of a random window, cut out after resizing; or ``{type: absolute | absolute_range |
  relative | relative_range, size: ...}``, see ``windows.RandomCrop``.
- ``crop_first``: ``{probability: 0.5, sizes: [[1333, 400], ...], crop: [384, 600]}``: in some images resize
  to one of the sizes and cut a window of sides 384..600, before resizing (DETR).
- ``center_crop``: ``{size: [w, h], ratios: [...], border: 128, mean: [r, g, b]}``: CornerNet's window around
  a random point, before resizing.
- ``shift``: ``{probability: 0.5, max_pixels: 32}``: moves the image after resizing (YOLOF).
- ``photometric`` (false): random brightness, contrast, color, first of all or (``last``) after everything
  else; images become float32.
- ``expand``: ``{mean: [r, g, b], ratio: [1, 4]}``: on a larger canvas, before resizing.
- ``overlap_crop``: ``{min_ious: [...], min_size: 0.3}``: SSD's random window, before resizing.
- ``albumentations``: list of ``{type: name, ...}``, transforms of that library, after resizing and flipping.
- ``instaboost``: ``{probability: 0.5, actions: {normal: 1}, scale: [0.8, 1.2], dx: 15, dy: 15,
  theta: [-1, 1], color_probability: 0.5}``: in some images objects move a little, before everything else;
  needs masks and OpenCV. See ``instaboost.InstaBoost``.
- ``filter_empty`` (true), ``min_size`` (32): leave out images without objects, or with a shorter side.
- ``min_box``: leave out objects with a side of so many pixels or less, and images of such only.
- ``ignore_below``: objects with a side below so many pixels become ignore regions; their images stay.
- ``shuffle`` (true), ``repeat`` (1): random order; passes over the data per epoch.
- ``oversample``: repeat images with classes that are in a smaller share of the images (LVIS: 0.001).
- ``semantic``, ``semantic_stride`` (8): folder of class maps (PNG, 255 = none); deliver every 8th cell.
- ``remainder`` (fill): images that do not make up a batch: ``fill`` with others of the bucket, or ``drop``.

Unknown keys and values fail with the nearest valid name.
"""

import functools
import logging

from kdet.data import buckets, semantic
from kdet.data import resize as _resize
from kdet.data import spec as _spec
from kdet.data.buckets import bucket_shapes, choose_bucket
from kdet.data.cityscapes import read_cityscapes
from kdet.data.coco import read_coco
from kdet.data.index import DatasetIndex, Record, concatenate
from kdet.data.inference import batches, preprocess_images
from kdet.data.pipeline import Pipeline
from kdet.data.proposals import attach_proposals
from kdet.data.tfrecord import read_tfrecord, write_tfrecords
from kdet.data.transforms import Resize
from kdet.data.voc import read_voc
from kdet.data.wider_face import read_wider_face
from kdet.errors import DataError

logger = logging.getLogger("kdet.data")

__all__ = [
    "DatasetIndex",
    "Pipeline",
    "Record",
    "batches",
    "bucket_shapes",
    "choose_bucket",
    "load",
    "preprocess_images",
    "read_cityscapes",
    "read_coco",
    "read_index",
    "read_tfrecord",
    "read_voc",
    "read_wider_face",
    "section",
    "write_tfrecords",
]


def section(recipe, split):
    """The data section ``split`` (train, val or test) of a recipe, with the recipe's ``data.classes``.

    Raises:
        ValueError: the recipe has no such section.
    """
    data = recipe.get("data") or {}
    if not data.get(split):
        raise DataError(f"The recipe has no section data.{split}; it names {', '.join(data) or 'no data'}.")
    return {"classes": data.get("classes"), **data[split]}


def load(spec, training=False, batch_size=1, seed=0, num_classes=None):
    """A ``Pipeline`` over the dataset that ``spec`` (see the module's table) describes.

    ``load(...).dataset()`` is a ``tf.data.Dataset`` of ``(inputs, targets)`` as ``fit`` takes it.

    Args:
        spec: dict.
        training: augment, shuffle and repeat endlessly; else one pass in order.
        batch_size: images per global batch.
        seed: of everything random.
        num_classes: what the model expects, to be compared with the dataset.

    Raises:
        ValueError, FileNotFoundError: naming the file, key and value.
    """
    spec = _spec.complete(spec)
    index = read_index(spec)
    if num_classes is not None and num_classes != len(index.class_names):
        raise DataError(
            f"The model has {num_classes} classes but {index.name} has {len(index.class_names)}: "
            f"{index.class_names}. Build the model with num_classes={len(index.class_names)}, or choose "
            "classes with data.classes."
        )
    if training:
        keys = ("min_size", "min_box", "ignore_below")
        index = index.filtered(empty=spec["filter_empty"], **{key: spec[key] for key in keys})
    if spec["limit"]:
        index = index.first(spec["limit"])
    if not len(index):
        raise DataError(f"No image is left to read.\n{index.report()}")
    if not training and (len(spec["resize"]["sizes"]) > 1 or spec["resize"]["ratio_range"]):
        raise DataError("data.resize must be one size for evaluation; several are for training.")
    if training and not any(len(record.labels) for record in index.records):
        logger.warning(
            "%s has no object to learn from in any of its %d images (crowds are no objects).",
            index.name,
            len(index),
        )
    shapes, resized = _canvas(spec, training, index.records)
    pipeline = Pipeline(
        index, shapes=shapes, resized=resized, batch_size=batch_size, training=training, seed=seed, spec=spec
    )
    if not pipeline.steps_per_epoch:
        raise ValueError(
            f"{index.name} has {len(index)} images, which make no batch of {batch_size}: lower batch_size, "
            "or set data.remainder: fill."
        )
    return pipeline


_READER_KEYS = {
    "coco": ("classes", "masks", "on_missing", "on_corrupt", "allow_outside", "crowds"),
    "voc": ("classes", "masks", "on_missing", "on_corrupt", "allow_outside"),
    "tfrecord": ("classes", "masks", "on_missing", "on_corrupt", "crowds"),
    "cityscapes": ("classes", "masks", "on_missing"),
    "wider_face": ("classes", "masks", "on_missing"),
}


def read_index(spec):
    """The ``DatasetIndex`` alone: what is there, before any image is read."""
    spec = _spec.complete(spec)
    readers = {
        "coco": read_coco,
        "voc": read_voc,
        "tfrecord": read_tfrecord,
        "cityscapes": read_cityscapes,
        "wider_face": read_wider_face,
    }
    files = spec["annotations"] if isinstance(spec["annotations"], (list, tuple)) else [spec["annotations"]]
    images = spec["images"] if isinstance(spec["images"], (list, tuple)) else [spec["images"]] * len(files)
    if len(images) != len(files):
        raise DataError(f"data.annotations lists {len(files)} files but data.images {len(images)} folders.")
    options = {key: spec[key] for key in _READER_KEYS[spec["format"]]}
    parts = [
        readers[spec["format"]](file, folder, **options) for file, folder in zip(files, images, strict=True)
    ]
    if isinstance(spec["proposals"], (list, tuple)):
        for part, path in zip(parts, _one_each(spec, "proposals", parts), strict=True):
            attach_proposals(part.records, path, spec["max_proposals"])
    if spec["semantic"]:
        for part, folder in zip(parts, _one_each(spec, "semantic", parts), strict=True):
            found = semantic.attach(part.records, folder, spec["on_missing"], part.skips, part.name)
            part.records = found
    index = concatenate(parts)
    index.difficulty_lists = spec["difficulty_lists"]
    if isinstance(spec["proposals"], str):
        attach_proposals(index.records, spec["proposals"], spec["max_proposals"])
    return index


def _one_each(spec, key, parts):
    """The value of ``key`` for every dataset, of which one may stand for all."""
    values = spec[key] if isinstance(spec[key], (list, tuple)) else [spec[key]] * len(parts)
    if len(values) != len(parts):
        raise DataError(f"data.{key} lists {len(values)} entries for {len(parts)} datasets.")
    return values


def _canvas(spec, training, records):
    """Canvas shapes (h, w), and what maps an image's (h, w) to its new size (None: all fit)."""
    rule, resized = spec["resize"], None
    crop = spec["crop"] or {} if training else {}
    if crop.get("type", "").startswith("absolute"):
        largest = crop["size"] if crop["type"] == "absolute" else [max(crop["size"])] * 2
        shapes = _spec.canvas_shapes(largest, True, spec["divisor"])
    elif training and spec["crop_first"] and rule["mode"] != "factor":
        # a window may be upright in a wide image: one canvas for all
        shapes = _spec.canvas_shapes([max(Resize(**rule).largest())] * 2, True, spec["divisor"] or 32)
    elif rule["mode"] == "factor":
        resizing = [key for key in ("expand", "center_crop", "crop_first") if training and spec[key]]
        if resizing and not spec["buckets"]:
            raise ValueError(
                f"data.{resizing[0]} gives images a new size, which data.resize by a factor keeps: list the "
                "canvases that hold them in data.buckets, [[h, w], ...]."
            )
        resized = functools.partial(_resize.scaled, factor=max(rule["sizes"]))
        own = {resized((r.height, r.width)) for r in records}
        shapes = {buckets.own_canvas(size, spec["divisor"] or 32, spec["center_pad"]) for size in own}
    else:
        largest, fixed = Resize(**rule).largest(), rule["mode"] == "fixed"
        shapes = _spec.canvas_shapes(largest, fixed, spec["divisor"])
        resized = None if fixed else functools.partial(_resize.fitted, limit=largest)
    return [tuple(shape) for shape in spec["buckets"] or sorted(shapes)], resized
