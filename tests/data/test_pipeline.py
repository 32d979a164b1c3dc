"""The pipeline against the reference's own output, and its promises: static shapes, exact resume."""

import json

import numpy as np
import pytest

import kdet.data
from kdet.data import masks
from tests.data.steps import steps


def elements(pipeline, count, **options):
    """The first images of a pipeline, unbatched, as ``{image_id: (inputs, targets)}`` in order."""
    return [
        tuple({k: v[b].numpy() for k, v in part.items()} for part in element)
        for element in pipeline.dataset(**options).take(count)
        for b in range(element[0]["images"].shape[0])
    ]


def assert_equals_reference(element, reference, key):
    inputs, targets = element
    h, w = inputs["valid_size"].astype(int)
    count = len(reference[f"{key}/labels"])
    np.testing.assert_array_equal(inputs["scale"], reference[f"{key}/scale"])
    np.testing.assert_array_equal(targets["labels"][:count], reference[f"{key}/labels"])
    assert (targets["labels"][count:] == -1).all()
    np.testing.assert_allclose(targets["boxes"][:count], reference[f"{key}/boxes"], atol=1e-5)
    if "ignore_boxes" in targets:
        ignored = reference[f"{key}/ignore"]
        np.testing.assert_allclose(targets["ignore_boxes"][: len(ignored)], ignored, atol=1e-5)
        assert not targets["ignore_boxes"][len(ignored) :].any()
    assert not inputs["images"][h:].any() and not inputs["images"][:, w:].any()
    if f"{key}/image" in reference:
        np.testing.assert_array_equal(inputs["images"][:h, :w], reference[f"{key}/image"])
    if "masks" in targets:
        canvas_width = inputs["images"].shape[1]
        got = masks.unpack(targets["masks"], canvas_width)
        padded_h, padded_w = reference[f"{key}/pad_shape"]
        expected = masks.unpack(reference[f"{key}/masks"], padded_w)
        np.testing.assert_array_equal(got[:count, :h, :w], expected[:, :h, :w])
        assert not got[count:].any() and not got[:, h:].any() and not got[:, :, w:].any()


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(
    ("name", "resize"),
    [("keep", {"sizes": [[133, 80]]}), ("fixed", {"mode": "fixed", "sizes": [[50, 70]]})],
)
def test_coco_equals_reference(coco, reference, name, resize, flip):
    coco.update(transforms=steps(Resize=resize, RandomFlip={"probability": flip}), shuffle=False)
    pipeline = kdet.data.load(coco, training=True, batch_size=1)
    seen = elements(pipeline, 3)
    assert sorted(int(e[0]["image_id"]) for e in seen) == [1, 2, 3]
    for element in seen:
        image = int(element[0]["image_id"]) - 1
        assert_equals_reference(element, reference, f"coco_{name}_{flip}/{image}")


@pytest.mark.parametrize("flip", [0, 1])
def test_voc_equals_reference(assets, reference, flip):
    spec = {
        "type": "VocReader",
        "annotations": str(assets / "voc/ImageSets/Main/train.txt"),
        "classes": ["cat", "dog"],
        "transforms": steps(Resize={"sizes": [64, 41]}, RandomFlip={"probability": flip}),
    }
    pipeline = kdet.data.load(spec, training=True)
    assert_equals_reference(elements(pipeline, 1)[0], reference, f"voc_keep_{flip}/0")


def check_one_pass(pipeline, canvas_of):
    """Every image once, on the canvas that ``canvas_of`` gives for the valid sizes of a batch."""
    batches = list(pipeline.dataset())
    assert len(batches) == len(pipeline) == 2
    assert sorted(i for x, _ in batches for i in x["image_id"].numpy()) == [-1, 1, 2, 3]
    for inputs, targets in batches:
        assert inputs["images"].shape[0] == 2
        assert (targets["labels"].numpy()[inputs["image_id"] == -1] == -1).all()  # fillers hold no object
        assert tuple(inputs["images"].shape[1:3]) == canvas_of(inputs["valid_size"].numpy())
        assert targets["masks"].shape[2] == inputs["images"].shape[1]
        assert targets["masks"].shape[3] == inputs["images"].shape[2] // 8
    for (first, _), (again, _) in zip(batches, pipeline.dataset(), strict=True):
        np.testing.assert_array_equal(first["images"], again["images"])


def test_evaluation_visits_every_image_once_on_the_canvas_of_its_batch(coco):
    pipeline = kdet.data.load(coco, batch_size=2)
    assert not pipeline.fixed_canvases
    check_one_pass(pipeline, lambda sizes: tuple(np.ceil(sizes.max(0) / 32).astype(int) * 32))


def test_evaluation_keeps_to_buckets_that_are_given(coco):
    pipeline = kdet.data.load({**coco, "buckets": [[96, 160], [160, 96]]}, batch_size=2)
    assert pipeline.fixed_canvases
    check_one_pass(pipeline, lambda sizes: (96, 160) if (sizes <= (96, 160)).all() else (160, 96))


def test_evaluation_in_odd_canvases(coco):
    """Masks of rows that end within a byte are padded too."""
    for inputs, targets in kdet.data.load({**coco, "divisor": 1}, batch_size=2).dataset():
        height, width = inputs["valid_size"].numpy().max(0).astype(int)
        assert inputs["images"].shape == (2, height, width, 3)
        assert targets["masks"].shape[2:] == (height, -(-width // 8))


def test_evaluation_shards_split_every_batch(coco):
    pipeline = kdet.data.load(coco, batch_size=2)
    ids = [[int(x["image_id"]) for x, _ in elements(pipeline, 9, shard=(i, 2))] for i in range(2)]
    assert len(ids[0]) == len(ids[1]) == 2
    assert sorted(ids[0] + ids[1]) == [-1, 1, 2, 3]


def test_one_bucket_has_a_static_shape(coco):
    coco.update(transforms=steps(Resize={"mode": "fixed", "sizes": [[50, 70]]}), divisor=32)
    inputs, targets = kdet.data.load(coco, training=True, batch_size=2).dataset().element_spec
    assert inputs["images"].shape == (2, 96, 64, 3)
    assert targets["masks"].shape == (2, 3, 96, 8)


def random_spec(coco):
    resize = {"sizes": [[100, 40], [133, 80]], "multiscale": "range"}
    return {**coco, "transforms": steps(Resize=resize, RandomCrop={"size": [96, 64]}, RandomFlip={})}


def test_resume_is_exact(coco):
    first = elements(kdet.data.load(random_spec(coco), training=True, batch_size=2, seed=3), 6)
    again = elements(kdet.data.load(random_spec(coco), training=True, batch_size=2, seed=3), 3, skip=3)
    for (x, y), (x2, y2) in zip(first[6:], again, strict=True):
        for key in x:
            np.testing.assert_array_equal(x[key], x2[key])
        for key in y:
            np.testing.assert_array_equal(y[key], y2[key])


def test_seeds_and_epochs_differ(coco):
    def draws(seed):
        seen = elements(kdet.data.load(random_spec(coco), training=True, batch_size=1, seed=seed), 6)
        return [(int(x["image_id"]), x["valid_size"].tolist(), x["scale"].tolist()) for x, _ in seen]

    first = draws(0)
    assert first == draws(0) != draws(1)
    assert first[:3] != first[3:]


def test_shards_and_splits_make_up_the_global_batch(coco):
    pipeline = kdet.data.load(random_spec(coco), training=True, batch_size=4)
    whole = elements(pipeline, 2)
    parts = [elements(pipeline, 4, shard=(i, 2), split=2) for i in range(2)]
    joined = parts[0][:2] + parts[1][:2] + parts[0][2:] + parts[1][2:]
    for (x, _), (x2, _) in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(x["images"], x2["images"])
    with pytest.raises(ValueError, match="cannot be divided"):
        pipeline.dataset(shard=(0, 3))


def test_crop_keeps_masks_and_boxes_together(coco):
    window = steps(Resize={"sizes": [[133, 80]]}, RandomCrop={"size": [40, 30]}, RandomFlip={})
    coco.update(transforms=window, buckets=[[32, 64]])
    for inputs, targets in elements(kdet.data.load(coco, training=True, batch_size=1, seed=1), 12):
        h, w = inputs["valid_size"]
        assert (h, w) == (30, 40)
        for box, label, mask in zip(targets["boxes"], targets["labels"], targets["masks"], strict=True):
            ys, xs = np.nonzero(masks.unpack(mask, 64))
            if label < 0:
                assert not len(xs)
            elif len(xs):  # the mask lies in its box, up to the rounding of its outline
                assert xs.min() >= box[0] - 2 and xs.max() <= box[2] + 2
                assert ys.min() >= box[1] - 2 and ys.max() <= box[3] + 2


def test_images_without_objects_train_or_are_left_out(coco):
    kept = kdet.data.load(coco, training=True)
    assert len(kept.index) == 3
    coco["filter_empty"] = True
    filtered = kdet.data.load(coco, training=True)
    assert [r.image_id for r in filtered.index.records] == [1, 2]
    assert "image without objects" in filtered.report()
    assert len(kdet.data.load(coco).index) == 3  # evaluation sees them all


def test_corrupt_image_is_named_or_skipped_and_counted(coco, assets, tmp_path):
    for name in ("a.jpg", "b.png", "c.jpg"):
        (tmp_path / name).write_bytes((assets / name).read_bytes())
    (tmp_path / "c.jpg").write_bytes((assets / "c.jpg").read_bytes()[:700])
    coco.update(images=str(tmp_path))
    with pytest.raises(Exception, match=r"c\.jpg.*on_corrupt"):
        elements(kdet.data.load(coco, training=True), 3)
    coco.update(on_corrupt="skip")
    pipeline = kdet.data.load(coco, training=True)
    assert {int(x["image_id"]) for x, _ in elements(pipeline, 6)} == {1, 2}
    assert "skipped 1 x unusable image (e.g. c.jpg" in pipeline.report()


def test_class_count_must_fit_the_model(coco):
    with pytest.raises(ValueError, match=r"model has 80 classes but .*coco.json has 2: \['cat', 'dog'\]"):
        kdet.data.load(coco, num_classes=80)


def test_nothing_to_learn_from_is_said(coco, assets, tmp_path, caplog):
    content = json.loads((assets / "coco.json").read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    (tmp_path / "crowds.json").write_text(json.dumps(content))
    kdet.data.load({**coco, "masks": False}, training=True)
    assert "no object" not in caplog.text
    spec = {**coco, "masks": False, "annotations": str(tmp_path / "crowds.json")}
    kdet.data.load(spec, training=True)
    assert "has no object to learn from in any of its 3 images" in caplog.text


def test_too_few_images_for_a_batch(coco):
    with pytest.raises(ValueError, match="has 3 images, which make no batch of 4: lower batch_size"):
        kdet.data.load({**coco, "remainder": "drop"}, training=True, batch_size=4)
