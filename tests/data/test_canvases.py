"""A canvas per step: random sizes are divided into parts, and every step has one."""

import collections

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import canvases, spec
from kdet.data.records import Record, Records
from kdet.data.sample import Sample
from kdet.data.transforms import part_of_step
from kdet.settings import Split
from tests.data.steps import steps

VALUES = [[1333, side] for side in range(480, 801, 32)]
RANGE, SQUARE = [[1333, 480], [1333, 800]], [[320, 320], [608, 608]]
STEPS = 600
BOX = np.zeros([0, 4], np.float32)


def record(height, width):
    labels = np.zeros([0], np.int32)
    return Record(0, "x", "x", height, width, BOX, labels, BOX, labels)


def sized(resize, *others, **split):
    """The ``Resize`` as a pipeline prepares it, and the chain that it is in."""
    chain = spec.chain(
        Split(annotations="a.json", transforms=steps(Resize=resize) + list(others), **split), True
    )
    return next(one for one in chain if type(one).__name__ == "Resize"), chain


def limits_of(resize, count, seed=3):
    """(long, short) limits drawn in ``count`` steps of one image."""

    @tf.function(autograph=False)
    def draw():
        def one(step):
            key = tf.stack([tf.constant(seed, tf.int64), step + 10_000])
            return resize._draw_in(part_of_step(step, seed, resize.parts), key)

        return tf.map_fn(one, tf.range(count, dtype=tf.int64), fn_output_signature=tf.int32)

    return draw().numpy()


@pytest.mark.parametrize("parts", [2, 4, 5])
def test_every_size_comes_as_often_as_without_parts(parts):
    resize, _ = sized({"sizes": VALUES[::-1], "multiscale": "value", "parts": parts})
    drawn = collections.Counter(limits_of(resize, STEPS)[:, 1].tolist())
    assert sorted(drawn) == [side for _, side in VALUES]
    share = np.array(list(drawn.values())) / STEPS
    assert abs(share - 1 / len(VALUES)).max() < 5 * (1 / len(VALUES) / STEPS) ** 0.5


def test_ranges_are_drawn_as_without_parts():
    resize, _ = sized({"sizes": RANGE, "multiscale": "range"})
    drawn = limits_of(resize, STEPS)
    assert set(drawn[:, 0]) == {1333} and drawn[:, 1].min() >= 480 and drawn[:, 1].max() <= 800
    quarters = np.bincount((drawn[:, 1] - 480) * 4 // 321, minlength=4) / STEPS
    assert abs(quarters - 0.25).max() < 0.09

    resize, _ = sized({"sizes": SQUARE, "multiscale": "range"})
    low, high = np.sort(limits_of(resize, STEPS), 1).T
    # of two uniform draws the larger one is below the middle in a quarter of the cases, the smaller in three
    assert abs((high <= 463).mean() - 0.25) < 0.09 and abs((low <= 463).mean() - 0.75) < 0.09
    assert low.min() >= 320 and high.max() <= 608 and (low <= high).all()


@pytest.mark.parametrize(
    ("resize", "wanted"),
    [
        ({"sizes": RANGE, "multiscale": "range"}, [(1333, 560), (1333, 640), (1333, 720), (1333, 800)]),
        ({"sizes": VALUES[:2], "multiscale": "value"}, [(1333, 480)] * 2 + [(1333, 512)] * 2),
        ({"sizes": SQUARE, "multiscale": "range"}, [(464, 464), (524, 524), (570, 570), (608, 608)]),
        ({"sizes": [[100, 60]], "ratio_range": [0.5, 1.5]}, [(75, 45), (100, 60), (125, 75), (150, 90)]),
        ({"sizes": [[1000, 400], [1333, 800]], "multiscale": "range"}, None),
        ({"sizes": [[700, 400], [1333, 800]], "multiscale": "range"}, ()),  # the sides change roles
        ({"sizes": RANGE, "multiscale": "range", "parts": 1}, ()),
        ({"sizes": [[1333, 800]]}, ()),
        ({"sizes": [[64, 64], [96, 96]], "multiscale": "step"}, ()),
    ],
)
def test_limits_of_the_parts_hold_all_that_is_drawn(resize, wanted):
    resize, chain = sized(resize)
    limits = spec.extent_of(chain).parts
    assert wanted is None or limits == tuple(wanted)
    if not limits:
        return
    assert list(limits) == sorted(limits) and limits[-1] == resize.largest()
    parts = [int(part_of_step(step, 3, resize.parts)) for step in range(60)]
    for part, limit in zip(parts, limits_of(resize, 60), strict=True):
        assert max(limit) <= max(limits[part]) and min(limit) <= min(limits[part])


def test_where_a_window_of_one_size_follows_there_are_no_parts():
    assert spec.extent_of(sized({"sizes": VALUES}, {"type": "RandomCrop", "size": [64, 64]})[1]).parts == ()
    resize, chain = sized({"sizes": VALUES}, buckets=[[800, 1344], [1344, 800]])
    assert not resize._draws_parts
    plan = canvases.plan(
        Split(annotations="a.json", buckets=[[800, 1344]]),
        chain,
        Records.of([record(480, 640)]),
        training=True,
    )
    assert plan.of_part is None
    crooked = [{"type": "OverlapCrop"}, *steps(Resize={"sizes": VALUES})]
    chain = spec.chain(Split(annotations="a.json", transforms=crooked), True)
    assert not chain[1]._draws_parts  # the long side is the same in all of them


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (427, 640), (333, 500), (700, 690), (200, 900)])
def test_the_canvas_of_a_part_holds_its_images(size):
    _, chain = sized({"sizes": RANGE, "multiscale": "range"})
    records = Records.of([record(*size), record(480, 640)])
    plan = canvases.plan(Split(annotations="a.json"), chain, records, training=True)
    bucket = plan.assign(records)[0]
    limits = spec.extent_of(chain).parts
    for part, limit in enumerate(limits):
        canvas = plan.of_part[bucket, part]
        shorts = range(480 if part == 0 else limits[part - 1][1], limit[1] + 1, 7)
        for own in [kdet.data.resize.fitted(size, (1333, short)) for short in [*shorts, limit[1]]]:
            assert (canvas >= own).all() and (canvas % 32 == 0).all()
        assert (canvas <= plan.shapes[bucket]).all()
    if size == (480, 640):
        assert plan.of_part[bucket].tolist() == [[576, 768], [640, 864], [736, 992], [800, 1088]]


def shapes_and_scales(pipeline, count, skip=0):
    found = pipeline.dataset(skip=skip).take(count)
    return [(tuple(x["images"].shape[1:3]), x["scale"].numpy().tolist()) for x, _ in found]


def test_batches_come_on_the_canvas_of_their_step(coco):
    resize = {"sizes": [[133, side] for side in (40, 48, 56, 64, 72, 80)]}
    section = {**coco, "transforms": steps(Resize=resize, RandomFlip={})}
    pipeline = kdet.data.load(section, training=True, batch_size=2, seed=1)
    seen = shapes_and_scales(pipeline, 8)
    assert len({shape for shape, _ in seen}) > 2
    assert shapes_and_scales(pipeline, 3, skip=5) == seen[5:]
    for step, (shape, _) in enumerate(seen):
        part = int(part_of_step(step, 1, 4))
        assert min(shape) <= -(-(48, 56, 72, 80)[part] // 32) * 32
    # one trace for all of them
    images = pipeline.dataset().element_spec[0]["images"]
    assert images.shape.as_list() == [2, None, None, 3]
    halves = [shapes_and_scales_of(pipeline, shard=(i, 2)) for i in range(2)]
    assert [shape for shape, _ in halves[0]] == [shape for shape, _ in halves[1]]


def shapes_and_scales_of(pipeline, shard):
    return [
        (tuple(x["images"].shape[1:3]), x["scale"].numpy().tolist())
        for x, _ in pipeline.dataset(shard=shard).take(3)
    ]


def test_one_part_is_the_canvas_of_the_largest_size(coco):
    resize = {"sizes": [[133, 40], [133, 80]], "parts": 1}
    section = {**coco, "transforms": steps(Resize=resize)}
    pipeline = kdet.data.load(section, training=True, batch_size=1, seed=1)
    assert {shape for shape, _ in shapes_and_scales(pipeline, 6)} <= set(pipeline.shapes)


def test_samples_outside_of_a_pipeline_have_no_parts():
    resize = kdet.data.transforms.Resize([[40, 20], [80, 40]])
    sample = Sample(
        {
            "image": tf.zeros([20, 30, 3], tf.uint8),
            "rows": tf.range(20),
            "columns": tf.range(30),
            "scale": tf.ones([2]),
            **{key: tf.zeros([0, 4]) for key in ("boxes", "ignore_boxes", "proposals")},
        }
    )
    drawn = {tuple(resize(sample, tf.constant([0, i]))["image"].shape[:2]) for i in range(8)}
    assert drawn == {(20, 30), (40, 60)}
