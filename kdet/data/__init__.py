"""Data: annotation readers, the tf.data pipeline, and pictures for prediction.

``load`` takes a plain dict, the ``data.train`` or ``data.val`` section of a config:

| key | default | meaning |
|-|-|-|
| `format` | `coco` | `coco` (JSON), `voc` (XML) or `tfrecord` (Model Garden's TFExample layout) |
| `annotations` | required | COCO: the JSON. VOC: the split file (`.../ImageSets/Main/train.txt`). TFRecord: a file pattern. A list concatenates |
| `images` | | COCO: the picture folder. VOC: the folder with `JPEGImages/` (default: the one around the split). A list goes with a list |
| `classes` | all | class names in label order: selects and reorders |
| `masks` | false | deliver instance masks |
| `resize` | `[1333, 800]` | `{mode: keep_ratio or fixed, sizes: [[1333, 800], ...], multiscale: value or range, ratio_range: [lo, hi]}`; sizes are (long, short) limits, or (w, h) in mode fixed |
| `flip` | 0.5 | probability of mirroring; training only |
| `crop` | | `[w, h]`: random window after resizing; training only |
| `divisor` | 32 (fixed: 1) | canvas sides are multiples of it |
| `buckets` | from `resize` | canvas shapes `[[h, w], ...]`; see `bucket_shapes` |
| `filter_empty` | true | leave out pictures without objects; training only |
| `min_size` | 32 | leave out pictures with a shorter side; training only |
| `on_missing`, `on_corrupt` | `error` | or `skip`: count and report |
| `max_boxes` | from the data | padded number of objects G |
| `proposals`, `max_proposals` | , 2000 | Fast R-CNN's proposal file (`.npz`, `.json`, `.pkl`) |
| `shuffle`, `remainder`, `repeat` | true, `fill`, 1 | order of training; `remainder` `fill` or `drop`; passes per epoch |
| `limit` | | only the first pictures |

Unknown keys and values fail with the nearest valid name.
"""

from kdet.data import spec as _spec
from kdet.data.buckets import bucket_shapes, choose_bucket
from kdet.data.coco import read_coco
from kdet.data.index import DatasetIndex, Record, concatenate
from kdet.data.pipeline import Pipeline
from kdet.data.transforms import Resize
from kdet.data.voc import read_voc

__all__ = [
    "DatasetIndex",
    "Pipeline",
    "Record",
    "bucket_shapes",
    "choose_bucket",
    "load",
    "read_coco",
    "read_index",
    "read_voc",
]


def load(spec, training=False, batch_size=1, seed=0, num_classes=None):
    """A ``Pipeline`` over the dataset that ``spec`` (see the module's table) describes.

    ``load(...).dataset()`` is a ``tf.data.Dataset`` of ``(inputs, targets)`` as ``fit`` takes it.

    Args:
        spec: dict.
        training: augment, shuffle and repeat endlessly; else one pass in order.
        batch_size: pictures per global batch.
        seed: of everything random.
        num_classes: what the model expects, to be compared with the dataset.

    Raises:
        ValueError, FileNotFoundError: naming the file, key and value.
    """
    spec = _spec.complete(spec)
    index = read_index(spec)
    if num_classes is not None and num_classes != len(index.class_names):
        raise ValueError(
            f"The model has {num_classes} classes but {index.name} has {len(index.class_names)}: "
            f"{index.class_names}. Build the model with num_classes={len(index.class_names)}, or choose "
            "classes with data.classes."
        )
    if training:
        index = index.filtered(empty=spec["filter_empty"], min_size=spec["min_size"])
    if spec["limit"]:
        index = index.first(spec["limit"])
    if not len(index):
        raise ValueError(f"No picture is left to read.\n{index.report()}")
    if not training and (len(spec["resize"]["sizes"]) > 1 or spec["resize"]["ratio_range"]):
        raise ValueError("data.resize must be one size for evaluation; several are for training.")
    shapes, limit = _canvas(spec, training)
    return Pipeline(
        index, shapes=shapes, limit=limit, batch_size=batch_size, training=training, seed=seed, spec=spec
    )


def read_index(spec):
    """The ``DatasetIndex`` alone: what is there, before any picture is read."""
    spec = _spec.complete(spec)
    readers = {"coco": read_coco, "voc": read_voc}
    files = spec["annotations"] if isinstance(spec["annotations"], (list, tuple)) else [spec["annotations"]]
    images = spec["images"] if isinstance(spec["images"], (list, tuple)) else [spec["images"]] * len(files)
    if len(images) != len(files):
        raise ValueError(f"data.annotations lists {len(files)} files but data.images {len(images)} folders.")
    options = {key: spec[key] for key in ("classes", "masks", "on_missing")}
    return concatenate(
        [readers[spec["format"]](file, folder, **options) for file, folder in zip(files, images, strict=True)]
    )


def _canvas(spec, training):
    """Canvas shapes (h, w), and the keep-ratio limit that decides among them (None: one fits all)."""
    largest = Resize(**spec["resize"]).largest()
    divisor = spec["divisor"]
    fixed = spec["crop"] if training and spec["crop"] else None
    if fixed is None and spec["resize"]["mode"] == "fixed":
        fixed = largest
    if spec["buckets"]:
        return [tuple(shape) for shape in spec["buckets"]], None if fixed else largest
    if fixed:
        return [tuple(-(-side // divisor) * divisor for side in fixed[::-1])], None
    return bucket_shapes(largest, divisor), largest
