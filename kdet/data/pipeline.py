"""The tf.data pipeline: records -> batches of (inputs, targets) of the data contract."""

import atexit
import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import compat
from kdet.data import buckets, faults, masks, padding, semantic, transforms
from kdet.data.canvases import Canvases
from kdet.data.images import Images
from kdet.data.index import DatasetIndex, Record
from kdet.data.plans import training_plan
from kdet.data.record_tables import RecordTables
from kdet.data.sample import Sample, Transform
from kdet.errors import DataError
from kdet.settings import Split
from kdet.typing import Pair, Tensors

IN_FLIGHT = 32  # images that are worked on at once, at most, with recent others
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
        shapes: the canvas shapes (h, w) that batches come in (in training with several sizes the largest, see
            ``Resize.parts``); with a single one the shapes are static. In
            evaluation without ``data.<split>.buckets`` they only say which images share a batch, and the
            canvas is the batch's own: its largest height and width, each a multiple of the divisor.
        fixed_canvases: batches come in ``shapes`` alone.
        steps_per_epoch: global batches per epoch (training) or in the dataset (evaluation).
        max_boxes, max_ignore: the largest padded lengths G and I of the targets.
        box_counts: the padded lengths G that batches of training come in, see ``padding.object_counts``: each
            the least that holds the objects of its whole global batch, so that it does not depend on how
            many replicas share that. One alone, and static, where ``data.train.max_boxes`` fixes it or
            transforms put images together.
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
        self.mixing_until: int | None = None
        self._training, self._seed, self._split = training, seed, split
        self._chain = chain
        room = 1  # images whose objects may come together in one
        for one in chain:
            room += (one.images - 1) * (room if one.recent else 1)
        self.max_boxes = split.max_boxes or room * int(index.records.objects.counts.max(initial=1))
        self.max_ignore = room * int(index.records.ignored.counts.max(initial=0))
        self._objects = index.records.objects.counts.astype(np.int32)
        fixed = split.max_boxes is not None or room > 1 or not training
        self.box_counts = (self.max_boxes,) if fixed else padding.object_counts(self.max_boxes)
        # whether objects carry their masks with them, because transforms change them
        self._carries_shapes = split.masks and any(one.needs_masks or one.mixes for one in chain)
        self._tables = RecordTables(index.records)
        self._canvases = canvases
        used, self._bucket = np.unique(canvases.assign(index.records), return_inverse=True)
        self._images = Images(index, self._bucket, split.on_corrupt == "skip")
        self.skips = self._images.skips
        # images that transforms come back to soon need not be decoded again
        recent = sum(one.recent or 0 for one in chain)
        self._image = functools.lru_cache(recent + IN_FLIGHT)(self._images.at) if recent else self._images.at
        self.shapes = [tuple(canvases.shapes[bucket]) for bucket in used]
        self.fixed_canvases = training or canvases.fixed
        self._of_part = None if canvases.of_part is None else canvases.of_part[used]
        if training:
            self._order, self._plan = training_plan(index, self._bucket, batch_size, split, seed)
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

    def share(self, part: int = 0, parts: int = 1) -> tf.data.Dataset:
        """The inputs of the whole batches of an evaluation that one of several workers gets.

        Args:
            part, parts: worker i of n gets the batches from ``i * b // n`` to ``(i + 1) * b // n`` of all b,
                as they are on one device. It may be none.
        """
        first, last = (number * self.steps_per_epoch // parts for number in (part, part + 1))
        options = tf.data.Options()
        options.deterministic = True
        data = self._evaluation(0, 1, 1, range(first, last), targets=False).with_options(options)
        return faults.reporting(data.prefetch(2))

    def _batch_of(self, step: tf.Tensor, start: int, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Images, positions and padded number of objects (the same for all) of a part of a global batch."""
        images_of = tf.numpy_function(self._plan.batch, [step], tf.int64, stateful=False)
        chosen = tf.gather(tf.constant(self._order), tf.ensure_shape(images_of, [self.batch_size]))
        positions = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        room = tf.constant(self.max_boxes)
        if len(self.box_counts) > 1:
            most = tf.reduce_max(tf.gather(tf.constant(self._objects), chosen))
            sizes = tf.constant(self.box_counts)
            room = sizes[tf.searchsorted(sizes, most[None])[0]]
        return chosen[start : start + size], positions[start : start + size], tf.fill([size], room)

    def _evaluation(
        self, part: int, parts: int, split: int, batches: range | None = None, targets: bool = True
    ) -> tf.data.Dataset:
        size, data, start = self.batch_size // parts, None, 0
        for bucket, shape in enumerate(self.shapes):
            chosen = np.flatnonzero(self._bucket == bucket)
            counted = np.append(chosen, np.full(-len(chosen) % self.batch_size, -1))
            counted = counted.reshape(-1, parts, size)[:, part]
            own = slice(None)
            if batches is not None:
                own = slice(max(batches.start - start, 0), max(batches.stop - start, 0))
            start += len(counted)
            counted = counted[own].reshape(-1)
            chosen = np.where(counted < 0, chosen[0], counted)
            rooms = np.full(len(chosen), self.max_boxes, np.int32)
            one = tf.data.Dataset.from_tensor_slices((chosen, counted, rooms))
            if self.fixed_canvases:
                one = self._read(one, [shape], targets).batch(size // split, drop_remainder=True)
                one = one if len(self.shapes) == 1 else padding.relaxed(one)
            else:
                one = self._read(one, None, targets).padded_batch(size // split, drop_remainder=True)
            data = one if data is None else data.concatenate(one)
        return data

    def _read(
        self, data: tf.data.Dataset, shapes: Sequence[Pair] | None, targets: bool = True
    ) -> tf.data.Dataset:
        chosen = slice(None) if targets else 0  # what is left out is not computed
        return data.map(lambda i, at, room: self._element(i, at, room, shapes)[chosen], tf.data.AUTOTUNE)

    def _element(
        self, i: tf.Tensor, position: tf.Tensor, room: tf.Tensor, shapes: Sequence[Pair] | None
    ) -> tuple[Tensors, Tensors]:
        """Image ``i`` as (inputs, targets) without the batch axis, its objects padded to ``room``; a negative
        position: only a filler.

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
        return inputs, self._targets(sample, i, canvas, room if len(self.box_counts) > 1 else self.max_boxes)

    def _raw(self, i: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        """Image ``i`` (or the one that stands in for it) as it lies on disk, and its number."""
        image, i = tf.numpy_function(
            faults.remembered(lambda i: self._image(int(i))), [i], [tf.uint8, tf.int64], stateful=False
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

    def _applied(self, number: int, sample: Tensors, position: tf.Tensor, step: tf.Tensor) -> Tensors:
        """The sample after transform ``number`` of the chain."""
        transform = self._chain[number]
        seed = tf.random.fold_in(tf.stack([self._seed, position]), number)

        def others(count: int) -> list[Sample]:
            key = tf.random.fold_in(seed, OTHERS)
            if transform.recent is not None:
                return self._earlier(number, key, position, count, transform.recent)
            return self._others(number, key, step, count)

        def applied() -> dict[str, tf.Tensor]:
            return dict(transform(Sample(sample, step, self._seed, others), seed))

        if not transform.mixes or self.mixing_until is None:
            return applied()
        return tf.cond(step < self.mixing_until, applied, lambda: dict(sample))

    def _others(self, number: int, seed: tf.Tensor, step: tf.Tensor, count: int) -> list[Sample]:
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

    def _earlier(
        self, number: int, seed: tf.Tensor, position: tf.Tensor, count: int, recent: int
    ) -> list[Sample]:
        """The images of earlier positions, before transform ``number``; at the very start later ones."""
        back = tf.random.stateless_uniform([count], seed, 1, recent + 1, tf.int64)
        positions = tf.where(back > position, position + back, position - back)
        found = []
        for slot in range(count):
            place = positions[slot]
            step = place // self.batch_size
            images, *_ = self._batch_of(step, 0, self.batch_size)
            sample, _ = self._raw(images[place % self.batch_size])
            for before in range(number):
                sample = self._applied(before, sample, place, step)
            found.append(Sample(sample, step, self._seed))
        return found

    def _canvas(self, image: tf.Tensor, i: tf.Tensor, shapes: Sequence[Pair] | None, step: tf.Tensor) -> Any:
        if shapes is None:
            divisor, center_pad = self._split.divisor or 32, self._split.center_pad
            return buckets.own_canvas_tensor(tf.shape(image)[:2], divisor, center_pad)
        if self._canvases.of_step is not None:
            return self._canvases.of_step(step, self._seed)
        if self._of_part is not None:
            part = transforms.part_of_step(step, self._seed, self._of_part.shape[1])
            places = tf.constant(self._of_part, tf.int32)[:, part]
            return tf.gather(places, tf.gather(tf.constant(self._bucket), i))
        if len(shapes) == 1:
            return shapes[0]
        return tf.gather(tf.constant(self.shapes), tf.gather(tf.constant(self._bucket), i))

    def _targets(self, sample: Tensors, i: tf.Tensor, canvas: Any, room: int | tf.Tensor) -> Tensors:
        targets = {
            "boxes": padding.pad_rows(sample["boxes"], room, 0.0),
            "labels": padding.pad_rows(sample["labels"], room, -1),
        }
        if self.max_ignore:
            targets["ignore_boxes"] = padding.pad_rows(sample["ignore_boxes"], self.max_ignore, 0.0)
        if self._split.masks:
            maps = [
                padding.pad_index(sample["rows"], canvas[0]),
                padding.pad_index(sample["columns"], canvas[1]),
            ]
            shapes = [sample["shapes"], sample["frame"]] if self._carries_shapes else []
            given = [i, room, sample["objects"], *maps, *shapes]
            packed = tf.numpy_function(faults.remembered(self._masks), given, tf.uint8, stateful=False)
            height, width = tf.get_static_value(canvas[0]), tf.get_static_value(canvas[1])
            targets["masks"] = tf.ensure_shape(
                packed, [tf.get_static_value(room), height, None if width is None else (width + 7) // 8]
            )
        if self._training and (self._split.semantic or self.index.has_segments):
            targets["semantic"] = self._semantic(sample, i, canvas)
        return targets

    def _semantic(self, sample: Tensors, i: tf.Tensor, canvas: Any) -> tf.Tensor:
        """Every ``semantic_stride``-th cell of the class map, as the image's, 255 outside of it."""
        stride = self._split.semantic_stride
        maps = [
            padding.pad_index(sample[k], canvas[axis])[::stride] for axis, k in enumerate(("rows", "columns"))
        ]
        found = tf.numpy_function(faults.remembered(self._moved), [i, *maps], tf.int32, stateful=False)
        sides = (tf.get_static_value(canvas[axis]) for axis in (0, 1))
        return tf.ensure_shape(found, [None if side is None else -(-side // stride) for side in sides])

    def _moved(self, i: np.ndarray, *maps: np.ndarray) -> np.ndarray:
        return semantic.moved(self.index.records[int(i)], *maps)

    def images(self, positions: Sequence[int] | None = None) -> Iterator[tuple[Record, np.ndarray]]:
        """Yields ``(Record, RGB uint8 [h,w,3])`` one by one, as they are on disk; for evaluation.

        Unusable ones are left out and counted with ``on_corrupt="skip"``.

        Args:
            positions: which, and in which order; default: all.
        """
        records = self.index.records
        for record in records if positions is None else (records[one] for one in positions):
            image = self._images.usable(record)
            if image is not None:
                yield record, image

    def _shapes(self, i: Any) -> np.ndarray:
        record = self.index.records[int(i)]
        with _naming(record, self.index):
            found = [masks.encode(s, record.height, record.width) for s in self.index.segmentations(record)]
        return np.array([rle["counts"].encode() for rle in found], object)

    def _masks(
        self,
        i: Any,
        room: Any,
        objects: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        shapes: Any = None,
        frame: Any = None,
    ) -> np.ndarray:
        record = self.index.records[int(i)]
        height, width = (record.height, record.width) if frame is None else map(int, frame)
        size = (height, width)
        found = self.index.segmentations(record) if shapes is None else masks.of_counts(shapes, *size)
        chosen = [found[position] for position in objects]
        with _naming(record, self.index):
            return masks.transformed(chosen, size, rows, columns, int(room))


@contextlib.contextmanager
def _naming(record: Record, index: DatasetIndex) -> Iterator[None]:
    """Names the image in errors about its masks."""
    try:
        yield
    except DataError as error:
        raise DataError(f"Image {record.name} of {index.name}: {error}") from error
