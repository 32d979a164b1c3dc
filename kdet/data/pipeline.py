"""The tf.data pipeline: records -> batches of (inputs, targets) of the data contract."""

import atexit
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import compat
from kdet.data import buckets, decoding, faults, masks, padding, semantic, transforms
from kdet.data.canvases import Canvases
from kdet.data.index import DatasetIndex, Record, Skips
from kdet.data.sample import Sample, Transform
from kdet.errors import DataError, MissingFile
from kdet.settings import Split

logger = logging.getLogger("kdet.data")

OTHERS = 7013  # folded into a transform's seed for the draw of other images

# A pipeline reads ahead in threads of TensorFlow that call Python for every image. An interpreter that shuts
# down gives them no turn any more, while destroying the iterator waits for them: the process would hang.
atexit.register(compat.close_iterators)


class Pipeline:
    """Batches of one dataset. Made by ``kdet.data.load``.

    Every random choice is a function of (seed, step, position in the batch), and decoding, shuffling and
    augmentation keep no state: ``dataset(skip=n)`` continues exactly where an earlier run stopped.

    Attributes:
        index: the ``DatasetIndex``; ``class_names`` are its labels.
        batch_size: images per global batch.
        shapes: the canvas shapes (h, w) that batches come in; with a single one the shapes are static. In
            evaluation without ``data.<split>.buckets`` they only say which images share a batch, and the
            canvas is the batch's own: its largest height and width, each a multiple of the divisor.
        fixed_canvases: batches come in ``shapes`` alone.
        steps_per_epoch: global batches per epoch (training) or in the dataset (evaluation).
        max_boxes, max_ignore: padded lengths G and I of the targets.
        mixing_until: the step from which on transforms that mix images are left out; None for never. Set it
            before ``dataset`` is called.
        skips: images that turned out unusable while reading (with ``on_corrupt="skip"``).
    """

    def __init__(
        self,
        index: DatasetIndex,
        *,
        split: Split,
        chain: list[Transform],
        canvases: Canvases,
        batch_size: int,
        training: bool,
        seed: int,
    ) -> None:
        self.index, self.batch_size = index, batch_size
        self.class_names = index.class_names
        self.skips = Skips()
        self.mixing_until: int | None = None
        self._training, self._seed, self._split = training, seed, split
        self._noted: set[Any] = set()
        self._chain = chain
        self._skip_corrupt = split.on_corrupt == "skip"
        room = sum(one.images - 1 for one in chain) + 1  # images whose objects may come together in one
        self.max_boxes = split.max_boxes or room * max([1, *(len(r.labels) for r in index.records)])
        self.max_ignore = room * max([0, *(len(r.ignore_boxes) for r in index.records)])
        # whether objects carry their masks with them, because transforms change them
        self._carries_shapes = split.masks and any(one.needs_masks or one.mixes for one in chain)
        self._tables = _Tables(index.records)
        self._canvases = canvases
        used, self._bucket = np.unique(canvases.assign(index.records), return_inverse=True)
        self.shapes = [tuple(canvases.shapes[bucket]) for bucket in used]
        self.fixed_canvases = training or canvases.fixed
        if training:
            counts = index.repeats(split.oversample) if split.oversample else 1
            self._order = np.tile(np.repeat(np.arange(len(index)), counts), split.repeat)
            self._plan = buckets.BatchPlan(
                self._bucket[self._order], batch_size,
                seed=seed, shuffle=split.shuffle, remainder=split.remainder,
            )  # fmt: skip
            self.steps_per_epoch = self._plan.steps_per_epoch
        else:
            counts = np.unique(self._bucket, return_counts=True)[1]
            self.steps_per_epoch = int(sum(-(-count // batch_size) for count in counts))

    def __len__(self) -> int:
        return self.steps_per_epoch

    def report(self) -> str:
        """What the dataset holds, and what was left out, also while reading so far."""
        return "\n  ".join([self.index.report(), *self.skips.lines()])

    def dataset(self, skip: int = 0, shard: tuple[int, int] = (0, 1), split: int = 1) -> tf.data.Dataset:
        """A ``tf.data.Dataset`` of ``(inputs, targets)``.

        Training: endless, reshuffled every epoch (use ``steps_per_epoch``). Evaluation: one pass, bucket
        by bucket, each batch on its own canvas (see ``shapes``); the last batch of a bucket is filled with
        images of ``image_id`` -1 without objects, which do not count.

        Args:
            skip: global batches to leave out at the start (to resume training). Costs nothing.
            shard: (i, n): the part of every global batch that input pipeline i of n gets.
            split: deliver this pipeline's part in that many elements (one per replica of a worker).
        """
        part, parts = shard
        if self.batch_size % (parts * split):
            raise DataError(
                f"batch_size {self.batch_size} cannot be divided among {parts} x {split} replicas."
            )
        if self._training:
            size = self.batch_size // parts
            data = tf.data.Dataset.counter(skip).map(lambda step: self._batch_of(step, part * size, size))
            data = self._read(data.unbatch(), self.shapes).batch(size // split, drop_remainder=True)
        else:
            data = self._evaluation(part, parts, split)
            data = data.skip(skip * split) if skip else data
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.OFF
            if parts > 1
            else tf.data.experimental.AutoShardPolicy.DATA
        )
        return faults.reporting(data.with_options(options).prefetch(2))

    def _batch_of(self, step, start, size):
        images_of = tf.numpy_function(self._plan.batch, [step], tf.int64, stateful=False)
        chosen = tf.gather(tf.constant(self._order), tf.ensure_shape(images_of, [self.batch_size]))
        positions = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return chosen[start : start + size], positions[start : start + size]

    def _evaluation(self, part, parts, split):
        size, data = self.batch_size // parts, None
        for bucket, shape in enumerate(self.shapes):
            chosen = np.flatnonzero(self._bucket == bucket)
            counted = np.append(chosen, np.full(-len(chosen) % self.batch_size, -1))
            counted = counted.reshape(-1, parts, size)[:, part].reshape(-1)
            chosen = np.where(counted < 0, chosen[0], counted)
            one = tf.data.Dataset.from_tensor_slices((chosen, counted))
            if self.fixed_canvases:
                one = self._read(one, [shape]).batch(size // split, drop_remainder=True)
                one = one if len(self.shapes) == 1 else _relaxed(one)
            else:
                one = self._read(one, None).padded_batch(size // split, drop_remainder=True)
            data = one if data is None else data.concatenate(one)
        return data

    def _read(self, data, shapes):
        return data.map(lambda i, position: self._element(i, position, shapes), tf.data.AUTOTUNE)

    def _element(self, i, position, shapes):
        """Image ``i`` as (inputs, targets) without the batch axis; a negative position: only a filler.

        On the canvas of its bucket, of ``shapes`` if that is a single one, or (None) on its own.
        """
        step = position // self.batch_size
        sample, i = self._raw(i)
        original_size = tf.shape(sample["image"])[:2]
        for number in range(len(self._chain)):
            sample = self._applied(number, sample, position, step)
        canvas = self._canvas(sample["image"], i, shapes, step)
        is_filler = position < 0
        sample = transforms.keep_objects(sample, tf.fill(tf.shape(sample["labels"]), ~is_filler))
        inputs = {
            "images": padding.pad_image(sample["image"], canvas),
            "valid_size": tf.cast(tf.shape(sample["image"])[:2], tf.float32),
            "original_size": tf.cast(original_size, tf.float32),
            "scale": sample["scale"],
            "image_id": tf.where(is_filler, tf.constant(-1, tf.int64), tf.gather(self._tables.image_id, i)),
        }
        if self._split.proposals:
            inputs["proposals"] = padding.pad_rows(sample["proposals"], self._split.max_proposals, 0.0)
        return inputs, self._targets(sample, i, canvas)

    def _raw(self, i):
        """Image ``i`` (or the one that stands in for it) as it lies on disk, and its number."""
        image, i = tf.numpy_function(
            faults.remembered(self._image), [i], [tf.uint8, tf.int64], stateful=False
        )
        image, i = tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(i, [])
        size = tf.shape(image)[:2]
        sample = self._tables.sample(i)
        sample.update(
            image=image,
            objects=tf.range(tf.shape(sample["labels"])[0]),
            scale=tf.ones([2]),
            rows=tf.range(size[0]),
            columns=tf.range(size[1]),
        )
        if self._carries_shapes:
            own = tf.numpy_function(faults.remembered(self._shapes), [i], tf.string, stateful=False)
            sample.update(shapes=tf.ensure_shape(own, [None]), frame=size)
        return sample, i

    def _applied(self, number, sample, position, step):
        """The sample after transform ``number`` of the chain."""
        transform = self._chain[number]
        seed = tf.random.fold_in(tf.stack([self._seed, position]), number)

        def others(count: int) -> list[Sample]:
            return self._others(number, tf.random.fold_in(seed, OTHERS), step, count)

        def applied() -> dict[str, tf.Tensor]:
            return dict(transform(Sample(sample, step, self._seed, others), seed))

        if not transform.mixes or self.mixing_until is None:
            return applied()
        return tf.cond(step < self.mixing_until, applied, lambda: dict(sample))

    def _others(self, number, seed, step, count):
        """Other images for transform ``number``."""
        earlier = self._chain[:number] if self._chain[number].takes_finished else ()
        picks = tf.random.stateless_uniform([count], seed, 0, len(self.index), tf.int64)
        found = []
        for slot in range(count):
            sample, _ = self._raw(picks[slot])
            own = tf.random.fold_in(seed, slot + 1)
            for before, transform in enumerate(earlier):
                if not transform.mixes:
                    given = Sample(sample, step, self._seed)
                    sample = transform(given, tf.random.fold_in(own, before))
            found.append(Sample(sample, step, self._seed))
        return found

    def _canvas(self, image, i, shapes, step):
        if shapes is None:
            divisor, center_pad = self._split.divisor or 32, self._split.center_pad
            return buckets.own_canvas_tensor(tf.shape(image)[:2], divisor, center_pad)
        if self._canvases.of_step is not None:
            return self._canvases.of_step(step, self._seed)
        if len(shapes) == 1:
            return shapes[0]
        return tf.gather(tf.constant(self.shapes), tf.gather(tf.constant(self._bucket), i))

    def _targets(self, sample, i, canvas):
        targets = {
            "boxes": padding.pad_rows(sample["boxes"], self.max_boxes, 0.0),
            "labels": padding.pad_rows(sample["labels"], self.max_boxes, -1),
        }
        if self.max_ignore:
            targets["ignore_boxes"] = padding.pad_rows(sample["ignore_boxes"], self.max_ignore, 0.0)
        if self._split.masks:
            maps = [
                padding.pad_index(sample["rows"], canvas[0]),
                padding.pad_index(sample["columns"], canvas[1]),
            ]
            shapes = [sample["shapes"], sample["frame"]] if self._carries_shapes else []
            given = [i, sample["objects"], *maps, *shapes]
            packed = tf.numpy_function(faults.remembered(self._masks), given, tf.uint8, stateful=False)
            height, width = tf.get_static_value(canvas[0]), tf.get_static_value(canvas[1])
            targets["masks"] = tf.ensure_shape(
                packed, [self.max_boxes, height, None if width is None else (width + 7) // 8]
            )
        if self._split.semantic and self._training:
            targets["semantic"] = self._semantic(sample, i, canvas)
        return targets

    def _semantic(self, sample, i, canvas):
        """Every ``semantic_stride``-th cell of the class map, as the image's, 255 outside of it."""
        stride = self._split.semantic_stride
        maps = [
            padding.pad_index(sample[k], canvas[axis])[::stride] for axis, k in enumerate(("rows", "columns"))
        ]
        found = tf.numpy_function(faults.remembered(self._moved), [i, *maps], tf.int32, stateful=False)
        sides = (tf.get_static_value(canvas[axis]) for axis in (0, 1))
        return tf.ensure_shape(found, [None if side is None else -(-side // stride) for side in sides])

    def _moved(self, i, *maps):
        return semantic.moved(self.index.records[int(i)], *maps)

    def _image(self, i):
        """The decoded image ``i``, or with ``on_corrupt="skip"`` the next usable one of its bucket."""
        for candidate in self._candidates(int(i)):
            image = self._usable(self.index.records[candidate])
            if image is not None:
                return image, np.int64(candidate)
        raise DataError(f"No usable image is left in {self.index.name}.")

    def images(self) -> Iterator[tuple[Record, np.ndarray]]:
        """Yields ``(Record, RGB uint8 [h,w,3])`` one by one, as they are on disk; for evaluation.

        Unusable ones are left out and counted with ``on_corrupt="skip"``.
        """
        for record in self.index.records:
            image = self._usable(record)
            if image is not None:
                yield record, image

    def _usable(self, record):
        """The decoded image; None where it is unusable and may be skipped."""
        try:
            return self._decoded(record)
        except (DataError, OSError) as error:
            if not self._skip_corrupt:
                kind = MissingFile if isinstance(error, FileNotFoundError) else DataError
                raise kind(
                    f"Image {record.name} of {self.index.name} {str(error).rstrip('.')}. Repair or remove "
                    "it, or set data.on_corrupt: skip."
                ) from error
            self._note(record, error)
        return None

    def _candidates(self, i):
        yield i
        same = np.flatnonzero(self._bucket == self._bucket[i])  # only when image i was unusable
        yield from np.roll(same, -int(np.searchsorted(same, i)))[1:]

    def _decoded(self, record):
        encoded = self.index.read(record)
        image = decoding.decode(encoded)
        expected = (record.height, record.width)
        if image.shape[:2] != expected and image.shape[1::-1] == expected:
            image = decoding.decode(encoded, orient=False)  # annotated on the image as it lies on disk
        if image.shape[:2] != expected:
            raise decoding.CorruptImage(
                f"is {image.shape[0]}x{image.shape[1]} (h x w) but its annotation says "
                f"{record.height}x{record.width}"
            )
        return image

    def _note(self, record, error):
        if record.name not in self._noted:
            self._noted.add(record.name)
            self.skips.add("unusable image", f"{record.name} {error}")
            logger.warning("Skipping image %s, which %s", record.name, error)

    def _shapes(self, i):
        record = self.index.records[int(i)]
        with _naming(record, self.index):
            found = [masks.encode(s, record.height, record.width) for s in self.index.segmentations(record)]
        return np.array([rle["counts"].encode() for rle in found], object)

    def _masks(self, i, objects, rows, columns, shapes=None, frame=None):
        record = self.index.records[int(i)]
        height, width = (record.height, record.width) if frame is None else map(int, frame)
        size = (height, width)
        found = self.index.segmentations(record) if shapes is None else masks.of_counts(shapes, *size)
        chosen = [found[position] for position in objects]
        with _naming(record, self.index):
            return masks.transformed(chosen, size, rows, columns, self.max_boxes)


@contextlib.contextmanager
def _naming(record, index):
    """Names the image in errors about its masks."""
    try:
        yield
    except DataError as error:
        raise DataError(f"Image {record.name} of {index.name}: {error}") from error


class _Tables:
    """The records as tensors: flat values and row splits, gathered by image number."""

    def __init__(self, records):
        no_boxes = np.zeros((0, 4), np.float32)
        self.image_id = tf.constant([r.image_id for r in records], tf.int64)
        self._tables = {
            "boxes": _flat([r.boxes for r in records], no_boxes),
            "labels": _flat([r.labels for r in records], np.zeros((0,), np.int32)),
            "ignore_boxes": _flat([r.ignore_boxes for r in records], no_boxes),
        }
        if records[0].proposals is not None:
            self._tables["proposals"] = _flat([r.proposals for r in records], no_boxes)

    def sample(self, i: tf.Tensor) -> dict[str, tf.Tensor]:
        sample = {"proposals": tf.zeros([0, 4])}
        for key, (values, splits) in self._tables.items():
            sample[key] = values[splits[i] : splits[i + 1]]
        return sample


def _flat(rows, empty):
    splits = np.cumsum([0, *(len(r) for r in rows)])
    return tf.constant(np.concatenate([empty, *rows])), tf.constant(splits)


def _relaxed(data):
    """Forgets the static canvas size, so that datasets of different buckets can be concatenated."""

    def loosen(
        inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        inputs = dict(inputs, images=_without_shape(inputs["images"], 3))
        if "masks" in targets:
            targets = dict(targets, masks=_without_shape(targets["masks"], 1))
        return inputs, targets

    return data.map(loosen)


def _without_shape(value, kind):
    shape = [None, None, None, 3] if kind == 3 else [None, value.shape[1], None, None]
    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=value, shape=shape), shape)
