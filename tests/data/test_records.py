"""Records over columns: what was put in comes out, whatever is chosen, joined or left out in between."""

import dataclasses

import numpy as np
import pytest

from kdet.data.index import DatasetIndex, Record, Skips, concatenate
from kdet.data.records import Records

SHAPES = {"polygons": [[1.5, 2, 3, 4, 5, 6]], "runs": {"size": [2, 2], "counts": [0, 4]}, "key": 7}


def record(number, count, ignored=1, shape=SHAPES["polygons"], size=(60, 80), **more):
    start = np.arange(count * 4, dtype=np.float32).reshape(-1, 4)
    return Record(
        image_id=number,
        name=f"image {number}\ud800",
        source=f"/images/{number}",
        height=size[0],
        width=size[1],
        boxes=start + [0, 0, number + 1, number + 3],
        labels=np.arange(count, dtype=np.int32) % 3,
        ignore_boxes=np.ones((ignored, 4), np.float32) * number,
        ignore_labels=np.full(ignored, number % 3, np.int32),
        segmentations=[shape] * count,
        ignore_segmentations=[shape] * ignored,
        **more,
    )


def index_of(records, name="set"):
    return DatasetIndex(
        name=name,
        class_names=["a", "b", "c"],
        category_ids=[1, 2, 3],
        records=records,
        skips=Skips(),
        has_masks=True,
    )


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for field in dataclasses.fields(Record):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            if isinstance(theirs, np.ndarray):
                np.testing.assert_array_equal(mine, theirs)
                assert mine.dtype == (np.int32 if "labels" in field.name else np.float32)
            else:
                assert mine == theirs, field.name


@pytest.mark.parametrize("shape", [*SHAPES.values(), b"png", None, (1, 2)])
def test_what_goes_in_comes_out(shape):
    given = [record(i, count, shape=shape, empty=not count) for i, count in enumerate((2, 0, 3))]
    records = Records.of(iter(given))
    assert_same(records, given)
    assert_same(records[1:], given[1:])
    assert_same(records.take([2, 0, 2]), [given[2], given[0], given[2]])
    assert_same([records[-1]], given[-1:])
    with pytest.raises(IndexError):
        records[3]


def test_sources_and_what_few_images_have_may_be_anything():
    given = [record(0, 1), record(1, 1, proposals=np.ones((2, 4), np.float32), semantic="map.png")]
    given = [dataclasses.replace(one, source=("shard", 12, i)) for i, one in enumerate(given)]
    assert_same(Records.joined([Records.of(given), Records.of(given[:1])]), [*given, given[0]])
    assert_same(Records.of(given).take([1]), given[1:])


def test_a_record_cannot_be_changed_but_its_boxes_can():
    records = Records.of([record(0, 2)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        records[0].name = "other"
    records[0].boxes[1] = 5
    assert records[0].boxes[1].tolist() == [5] * 4


def test_an_index_counts_in_columns():
    index = index_of([record(0, 4), record(1, 1), record(2, 0, ignored=0), record(3, 2)])
    assert index.num_objects == 7 and index.counts() == {"a": 4, "b": 2, "c": 1}
    assert "4 images, 7 objects of 3 classes, 3 ignore regions" in index.report()
    present = [{0, 1, 2}, {0, 1}, set(), {0, 1}]
    shares = [sum(label in one for one in present) / 4 for label in range(3)]
    factors = [int(np.ceil(max([1.0, *(np.sqrt(2 / shares[i]) for i in one)]))) for one in present]
    assert index.repeats(2.0).tolist() == factors


def test_joining_numbers_anew_only_where_ids_clash():
    first, second = [record(0, 2), record(1, 1)], [record(5, 3)]
    joined = concatenate([index_of(first), index_of(second)])
    assert_same(joined.records, [*first, *second])
    again = concatenate([index_of(first), index_of(first)])
    assert again.records.image_id.tolist() == [0, 1, 2, 3]
    assert_same(again.records[2:], [dataclasses.replace(r, image_id=i + 2) for i, r in enumerate(first)])


def test_filtering_leaves_out_what_is_small_in_the_order_of_the_images():
    images = [
        record(0, 3),  # boxes of 1 x 3 pixels and more
        record(7, 2, shape=SHAPES["key"]),
        record(1, 0, ignored=0, empty=True),
        record(9, 1, size=(20, 80)),
    ]
    index = index_of(images)
    kept = index.filtered(empty=True, min_size=32, min_box=5, ignore_below=14)
    assert list(kept.skips.counts.items()) == [
        ("object with a side of 5 pixels or less (min_box)", 3),
        ("image of such objects only", 1),
        ("object with a side below 14 pixels, ignored (ignore_below)", 3),
        ("image without objects (filter_empty)", 1),
        ("image with a side below 32 pixels (min_size)", 1),
    ]
    assert [r.image_id for r in kept.records] == [7] and kept.num_objects == 0
    np.testing.assert_array_equal(
        kept.records[0].ignore_boxes, np.concatenate([images[1].ignore_boxes, images[1].boxes])
    )
    assert kept.records[0].ignore_segmentations == [7, 7, 7]
    assert_same(index.filtered(empty=False, min_size=0).records, images)
