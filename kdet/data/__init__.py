"""Data: annotation readers, the tf.data pipeline, and images for prediction.

``load`` takes a plain dict, the ``data.train`` or ``data.val`` section of a recipe. ``kdet.settings.Split``
lists its keys; the keywords of the reader that ``type`` names stand among them, and ``transforms`` lists
what happens to the images. docs/data.md has examples and all readers and transforms. Unknown keys and values
fail with the nearest valid name.
"""

import logging
from collections.abc import Sequence
from typing import Any

from kdet import storage
from kdet.data import (
    affine,  # noqa: F401  (registers its transform, as the modules below do)
    albu,  # noqa: F401
    canvases,
    copy_paste,  # noqa: F401
    cutmix,  # noqa: F401
    distortions,  # noqa: F401
    hsv,  # noqa: F401
    instaboost,  # noqa: F401
    mixup,  # noqa: F401
    mosaic,  # noqa: F401
    random_scale,  # noqa: F401
    semantic,
    windows,  # noqa: F401
)
from kdet.data import spec as _spec
from kdet.data.buckets import bucket_shapes, choose_bucket
from kdet.data.cityscapes import read_cityscapes
from kdet.data.coco import read_coco
from kdet.data.coco_panoptic import read_coco_panoptic
from kdet.data.crowd_human import read_crowd_human
from kdet.data.cvat import read_cvat
from kdet.data.extent import Extent
from kdet.data.index import DatasetIndex, Record, concatenate
from kdet.data.inference import batches, preprocess_images
from kdet.data.label_studio import read_label_studio
from kdet.data.labelme import read_labelme
from kdet.data.open_images import read_open_images
from kdet.data.pipeline import Pipeline
from kdet.data.proposals import with_proposals
from kdet.data.readers import Reader
from kdet.data.recognize import data_sets
from kdet.data.sample import Sample, Transform
from kdet.data.tfrecord import read_tfrecord, write_tfrecords
from kdet.data.transforms import Resize
from kdet.data.voc import read_voc
from kdet.data.wider_face import read_wider_face
from kdet.data.yolo import read_yolo
from kdet.errors import DataError
from kdet.settings import Split

logger = logging.getLogger("kdet.data")

__all__ = [
    "DatasetIndex",
    "Extent",
    "Pipeline",
    "Reader",
    "Record",
    "Sample",
    "Transform",
    "batches",
    "bucket_shapes",
    "choose_bucket",
    "data_sets",
    "load",
    "preprocess_images",
    "read_cityscapes",
    "read_coco",
    "read_coco_panoptic",
    "read_crowd_human",
    "read_cvat",
    "read_index",
    "read_label_studio",
    "read_labelme",
    "read_open_images",
    "read_tfrecord",
    "read_voc",
    "read_wider_face",
    "read_yolo",
    "section",
    "write_tfrecords",
]


def section(recipe: dict[str, Any], split: str) -> dict[str, Any]:
    """The data section ``split`` (train, val or test) of a recipe, with the recipe's ``data.classes``.

    Raises:
        ValueError: the recipe has no such section.
    """
    data = recipe.get("data") or {}
    if not data.get(split):
        raise DataError(f"The recipe has no section data.{split}; it names {', '.join(data) or 'no data'}.")
    return {"classes": data.get("classes"), **data[split]}


def load(
    spec: dict[str, Any],
    training: bool = False,
    batch_size: int = 1,
    seed: int = 0,
    num_classes: int | None = None,
) -> Pipeline:
    """A ``Pipeline`` over the dataset that ``spec`` (see ``kdet.settings.Split``) describes.

    ``load(...).dataset()`` is a ``tf.data.Dataset`` of ``(inputs, targets)`` as ``fit`` takes it.

    Args:
        spec: dict.
        training: augment, shuffle and repeat endlessly; else one pass in order.
        batch_size: images per global batch.
        seed: of everything random.
        num_classes: what the model expects, to be compared with the dataset.

    Raises:
        ValueError, FileNotFoundError: naming the file, key and value.

    Example:
        >>> pipeline = kdet.data.load(
        ...     {
        ...         "annotations": "train.json",
        ...         "images": "images",
        ...         "transforms": [{"type": "Resize", "sizes": [[640, 480]]}, {"type": "RandomFlip"}],
        ...     },
        ...     training=True,
        ...     batch_size=2,
        ... )
    """
    split, reader = _spec.complete(spec)
    chain = _spec.chain(split, training)
    index = _index(split, reader)
    if num_classes is not None and num_classes != len(index.class_names):
        raise DataError(
            f"The model has {num_classes} classes but {index.name} has {len(index.class_names)}: "
            f"{index.class_names}. Build the model with num_classes={len(index.class_names)}, or choose "
            "classes with data.classes."
        )
    if training:
        limits = {key: vars(split)[key] for key in ("min_size", "min_box", "ignore_below")}
        index = index.filtered(empty=split.filter_empty, **limits)
    if split.limit:
        index = index.first(split.limit)
    if not len(index):
        raise DataError(
            f"No image is left to read of {'; '.join(map(str.strip, index.report().splitlines()))}."
        )
    if not training and any(isinstance(one, Resize) and one.is_random for one in chain):
        raise DataError("Resize must have one size for evaluation; several are for training.")
    if training and not index.num_objects:
        logger.warning(
            "%s has no object to learn from in any of its %d images (crowds are no objects).",
            index.name,
            len(index),
        )
    pipeline = Pipeline(
        index,
        split=split,
        chain=chain,
        canvases=canvases.plan(split, chain, index.records, training),
        batch_size=batch_size,
        training=training,
        seed=seed,
    )
    if not pipeline.steps_per_epoch:
        raise ValueError(
            f"{index.name} has {len(index)} images, which make no batch of {batch_size}: lower batch_size, "
            "or set data.remainder: fill."
        )
    return pipeline


def read_index(spec: dict[str, Any]) -> DatasetIndex:
    """The ``DatasetIndex`` alone: what is there, before any image is read."""
    return _index(*_spec.complete(spec))


def _index(split: Split, reader: Reader) -> DatasetIndex:
    files = split.annotations if isinstance(split.annotations, (list, tuple)) else [split.annotations]
    images = split.images if isinstance(split.images, (list, tuple)) else [split.images] * len(files)
    if len(images) != len(files):
        raise DataError(f"data.annotations lists {len(files)} files but data.images {len(images)} folders.")
    parts = [reader.read(_local(file), folder) for file, folder in zip(files, images, strict=True)]
    if isinstance(split.proposals, (list, tuple)):
        for part, path in zip(parts, _one_each(split.proposals, "proposals", parts), strict=True):
            part.records = with_proposals(part.records, path, split.max_proposals)
    if split.semantic:
        for part, folder in zip(parts, _one_each(split.semantic, "semantic", parts), strict=True):
            part.records = semantic.attach(part.records, folder, split.on_missing, part.skips, part.name)
    index = concatenate(parts)
    if isinstance(split.proposals, str):
        index.records = with_proposals(index.records, split.proposals, split.max_proposals)
    return index


def _local(annotations: str) -> str:
    """Annotations as a path of this machine; a pattern of URLs stays one, for the reader of TFRecords."""
    if not storage.is_url(annotations) or storage.is_pattern(annotations):
        return annotations
    return str(storage.local(annotations))


def _one_each(given: Any, key: str, parts: Sequence[DatasetIndex]) -> Sequence[Any]:
    """The value of ``key`` for every dataset, of which one may stand for all."""
    values = given if isinstance(given, (list, tuple)) else [given] * len(parts)
    if len(values) != len(parts):
        raise DataError(f"data.{key} lists {len(values)} entries for {len(parts)} datasets.")
    return values
