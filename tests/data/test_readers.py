"""Readers: what they keep, what they skip and count, and how they explain themselves."""

import json

import numpy as np
import pytest

import kdet.data


def dataset(tmp_path, assets, **change):
    """A COCO file with one image and one object, with parts replaced by ``change``."""
    (tmp_path / "a.jpg").write_bytes((assets / "a.jpg").read_bytes())
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 83}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 8, 40, 30], "area": 9}],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        **change,
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return str(path), str(tmp_path)


def objects(*changes):
    base = {"image_id": 1, "category_id": 7, "bbox": [10, 8, 40, 30], "area": 9}
    return [{**base, "id": i, **change} for i, change in enumerate(changes)]


def test_coco_keeps_order_and_maps_categories(assets):
    index = kdet.data.read_coco(assets / "coco.json", assets, masks=True)
    assert index.class_names == ["cat", "dog"] and index.category_ids == [7, 3]
    first = index.records[0]
    np.testing.assert_array_equal(first.labels, [0, 1, 0])
    np.testing.assert_allclose(first.boxes[2], [-6, 40, 14.5, 70])
    np.testing.assert_allclose(first.ignore_boxes, [[0, 0, 9, 9]])
    assert index.records[2].empty and not index.records[1].empty
    assert index.counts() == {"cat": 2, "dog": 2}


def test_classes_select_and_reorder(assets):
    index = kdet.data.read_coco(assets / "coco.json", assets, classes=["dog", "cat"])
    np.testing.assert_array_equal(index.records[0].labels, [1, 0, 1])
    assert index.category_ids == [3, 7]
    only = kdet.data.read_coco(assets / "coco.json", assets, classes=["dog"])
    np.testing.assert_array_equal(only.records[0].labels, [0])
    with pytest.raises(ValueError, match=r"no class 'dogg' \(data.classes\). Nearest names there: dog"):
        kdet.data.read_coco(assets / "coco.json", assets, classes=["dogg"])
    with pytest.raises(ValueError, match="twice"):
        kdet.data.read_coco(assets / "coco.json", assets, classes=["dog", "dog"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [90, 10, 20, 20]}, "box outside the image"),
        ({"bbox": [10, -30, 20, 30]}, "box outside the image"),
        ({"bbox": [10, 10, 0.5, 20]}, "degenerate box"),
        ({"bbox": [10, 10, 20, -5]}, "degenerate box"),
        ({"area": 0}, "degenerate box"),
        ({"bbox": [10, 10, float("nan"), 5]}, "without a usable 'bbox'"),
        ({"bbox": None}, "without a usable 'bbox'"),
        ({"ignore": 1}, "marked 'ignore'"),
        ({"image_id": 5}, "image that is not listed"),
        ({"category_id": 99}, "unknown category id"),
    ],
)
def test_unusable_annotations_are_counted(tmp_path, assets, change, reason):
    index = kdet.data.read_coco(*dataset(tmp_path, assets, annotations=objects({}, change)))
    assert len(index.records[0].labels) == 1
    assert sum(index.skips.counts.values()) == 1
    assert f"skipped 1 x {next(iter(index.skips.counts))}" in index.report() and reason in index.report()


@pytest.mark.parametrize("segmentation", [None, [], [[1, 2, 3, 4]], {"counts": []}])
def test_objects_without_a_mask_are_counted_when_masks_are_asked_for(tmp_path, assets, segmentation):
    where = dataset(tmp_path, assets, annotations=objects({"segmentation": segmentation}))
    assert len(kdet.data.read_coco(*where).records[0].labels) == 1
    index = kdet.data.read_coco(*where, masks=True)
    assert index.skips.counts == {"object without a usable segmentation": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": objects({"id": 4}, {"id": 4})}, "two annotations have the id 4"),
        ({"images": {}}, "no list 'images'"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}]}, r"lacks \['height', 'width'\]"),
        ({"categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]}, "same name"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 83}] * 2}, "same id"),
    ],
)
def test_broken_files_are_explained(tmp_path, assets, change, words):
    with pytest.raises(ValueError, match=words):
        kdet.data.read_coco(*dataset(tmp_path, assets, **change))


def test_missing_files(tmp_path, assets):
    path, _ = dataset(tmp_path, assets)
    with pytest.raises(FileNotFoundError, match=r"lists the image .*a\.jpg.*on_missing: skip"):
        kdet.data.read_coco(path, tmp_path / "elsewhere")
    skipped = kdet.data.read_coco(path, tmp_path / "elsewhere", on_missing="skip")
    assert not len(skipped) and skipped.skips.counts == {"image file missing": 1}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        kdet.data.read_coco(tmp_path / "broken.json", tmp_path)


def test_size_that_is_not_the_images_is_an_error(tmp_path, assets):
    images = [{"id": 1, "file_name": "a.jpg", "height": 61, "width": 83}]
    path, folder = dataset(tmp_path, assets, images=images)
    with pytest.raises(Exception, match=r"a\.jpg of .* is 60x83 .* annotation says 61x83"):
        list(kdet.data.load({"annotations": path, "images": folder}).dataset())


def voc(tmp_path, assets, body, name="a"):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes((assets / "a.jpg").read_bytes())
    (tmp_path / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    split = tmp_path / "ImageSets" / "Main" / "train.txt"
    split.write_text(f"{name}\n")
    return str(split)


def xml(name, *corners):
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox></object>"


def test_voc_counts_from_one_and_reads_the_size_itself(tmp_path, assets):
    split = voc(tmp_path, assets, xml("dog", "11.9", 9, 51, 39) + xml("cat", 1, 1, 20, 30))
    index = kdet.data.read_voc(split)
    assert index.class_names == ["cat", "dog"]
    record = index.records[0]
    assert (record.height, record.width) == (60, 83)
    np.testing.assert_array_equal(record.boxes, [[10, 8, 50, 38], [0, 0, 19, 29]])


def test_voc_skips_are_counted(tmp_path, assets):
    body = xml("cat", 5, 5, 5, 9) + xml("cat", 90, 5, 95, 9) + xml("dog", 1, 1, 9, 9) + xml("cat", 1, 1, 9, 9)
    index = kdet.data.read_voc(voc(tmp_path, assets, body), classes=["cat"])
    assert sorted(index.skips.counts.values()) == [1, 1, 1] and len(index.records[0].labels) == 1


def test_voc_problems_are_explained(tmp_path, assets):
    split = voc(tmp_path, assets, "<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>")
    with pytest.raises(ValueError, match=r"a\.jpg: <bndbox> has no <ymin>"):
        kdet.data.read_voc(split)
    with pytest.raises(ValueError, match="VOC XML has no instance masks"):
        kdet.data.read_voc(split, masks=True)
    with pytest.raises(FileNotFoundError, match=r"none\.txt does not exist"):
        kdet.data.read_voc(str(tmp_path / "none.txt"))


def test_several_datasets_are_joined(tmp_path, assets):
    splits = [voc(tmp_path / y, assets, xml("cat", 1, 1, 9, 9), name=y) for y in ("2007", "2012")]
    index = kdet.data.read_index({"type": "VocReader", "annotations": splits, "classes": ["cat"]})
    assert [r.name for r in index.records] == ["2007", "2012"]
    assert [r.image_id for r in index.records] == [0, 1]  # both files count from 0
    other = voc(tmp_path / "other", assets, xml("dog", 1, 1, 9, 9))
    with pytest.raises(ValueError, match="give data.classes"):
        kdet.data.read_index({"type": "VocReader", "annotations": [splits[0], other]})


def test_to_coco_is_the_evaluators_ground_truth(assets):
    index = kdet.data.read_coco(assets / "coco.json", assets, classes=["dog", "cat"], masks=True)
    original = json.loads((assets / "coco.json").read_text())
    content = index.to_coco()
    assert content["annotations"] == original["annotations"]  # unusable ones too
    assert [c["id"] for c in content["categories"]] == [3, 7]
    fewer = kdet.data.read_coco(assets / "coco.json", assets, classes=["dog"]).first(1).to_coco()
    assert [a["id"] for a in fewer["annotations"]] == [2] and len(fewer["images"]) == 1


def test_to_coco_of_records(assets):
    index = kdet.data.read_coco(assets / "coco.json", assets, masks=True)
    index.coco_file = None
    annotations = index.to_coco()["annotations"]
    assert [a["iscrowd"] for a in annotations] == [0, 0, 0, 1, 0]
    assert annotations[0]["bbox"] == [10.5, 8.25, 40, 30]
    assert annotations[0]["segmentation"]["size"] == [60, 83]
    assert annotations[3]["area"] == 18  # the crowd's own pixels
    assert len({a["id"] for a in annotations}) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotation": "x"}, r"data.annotation: unknown key. Did you mean 'annotations'\?"),
        (
            {"type": "CocoReadr"},
            "data.type: No Reader is registered as 'CocoReadr'. Did you mean 'CocoReader'",
        ),
        ({"type": "Resize"}, "data.type: Resize is no Reader"),
        ({"type": "VocReader", "masks": False, "crowds": "ignore"}, "data.crowds: unknown key"),
        ({"transforms": [{"type": "Resize", "size": 1}]}, r"0.size: unknown keyword of Resize. Did you mean"),
        ({"transforms": [{"type": "Resize", "sizes": [[0, 5]]}]}, "expected a whole number from 1 to 65536"),
        ({"transforms": [{"type": "RandomFlip", "probability": 2}]}, "from 0 to 1, got 2"),
        ({"transforms": [{"type": "Resize", "sizes": [[9, 9], [8, 8]], "mode": "fixed"}]}, "one size"),
        ({"transforms": [{"type": "Resise"}]}, "transforms.0.type: No Transform is registered as 'Resise'"),
        ({"transforms": [{"sizes": [9, 9]}]}, "data.transforms.0 has no `type`"),
        ({"transforms": {"type": "Resize"}}, "data.transforms: expected a list of mappings"),
        ({"format": "coco"}, "data.format: unknown key. The reader is named by its type now"),
        ({"flip": 0.5}, r"data.flip: unknown key. It is a transform now, .*type: RandomFlip"),
        ({"annotations": None}, "lacks the key 'annotations'"),
    ],
)
def test_wrong_sections_are_explained(coco, change, words):
    with pytest.raises(ValueError, match=words):
        kdet.data.load({**coco, **change})


def test_section_of_a_recipe():
    recipe = {"data": {"classes": ["a"], "train": {"annotations": "x"}}}
    assert kdet.data.section(recipe, "train") == {"classes": ["a"], "annotations": "x"}
    with pytest.raises(ValueError, match="no section data.val"):
        kdet.data.section(recipe, "val")


def test_lvis_names_lead_to_the_images(assets, tmp_path):
    size = {"height": 60, "width": 83}
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "a.jpg").write_bytes((assets / "a.jpg").read_bytes())
    url = "http://images.cocodataset.org/train2017/a.jpg"
    index = kdet.data.read_coco(*dataset(tmp_path, assets, images=[{"id": 1, "coco_url": url, **size}]))
    assert index.records[0].name == "train2017/a.jpg" and index.records[0].source.endswith("train2017/a.jpg")
    old = [{"id": 1, "file_name": "COCO_train2014_a.jpg", **size}]
    index = kdet.data.read_coco(*dataset(tmp_path, assets, images=old))
    assert index.records[0].source == str(tmp_path / "a.jpg")
